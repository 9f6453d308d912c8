"""The ablation's results as a page of Markdown."""

from train_scripts.results_table import as_markdown

SCORES = {"action_units/mean_f1": ("AU F1", "BP4D"), "expression/accuracy": ("expression accuracy", "RAF-DB")}
STAGE_1 = {None: ("", ""), "pi": ("", "x"), "pa_pi": ("x", "x")}
HEADS = {
    "linear": ("", ""),
    "names": ("x", ""),
    "names_and_descriptions": ("x", "x"),
    "descriptions": ("", "x"),
}
VERDICTS = {"agree": "agrees", "disagree": "**disagrees**", "undecided": "undecided"}


def as_page(result: dict) -> str:
    """Markdown of what `ablation.main` writes into ablation.json."""
    settings = result["settings"]
    several = settings["seeds"] > 1
    frozen = " frozen" if settings["text_tower"] == "minilm" else ""
    lines = [
        "# The paper's ablation on the synthetic corpus",
        "",
        f"Percent on people nobody trained on: mean {'± standard deviation ' if several else ''}of {settings['seeds']} "
        f"seed{'s, each with other people and labels' if several else ''}, [95 % interval of the mean by bootstrap "
        "over people]. Beside it the paper's numbers, which are of photographs and of a ViT-B/16 that started from "
        "CLIP's weights: what can be compared is the order of rows, not their level.",
        "",
        as_markdown(score_rows(result)),
        "",
        "PA: activity texts in stage 1; PI: image pairs in stage 1; N, D: label names and descriptions in stage 2. "
        f"{settings['subjects']} people a seed, {100 * settings['label_fraction']:g} % of the training frames "
        f"labelled, text tower {settings['text_tower']}{frozen}. Without stage 1 the tower starts from nothing here. "
        "Thresholds are fitted on validation people.",
    ]
    for score, found in result["agreement"].items():
        ours, theirs = SCORES[score]
        pairs = found["pairs"]
        lines += ["", f"## Does the order agree: {ours} here, {theirs} in the paper", ""]
        if found["rank_correlation"] is not None:
            lines += [f"Rank correlation (Spearman) of the {found['rows']} rows: {found['rank_correlation']:.2f}."]
        lines += [
            f"Of {pairs['all']} pairs of rows, {pairs['agree']} stand in the paper's order, {pairs['disagree']} the "
            f"other way round, and {pairs['undecided']} cannot be told apart here ({pairs['same_sign']} of all have "
            "the paper's sign). A pair is told apart when the interval of its difference, on the same people, leaves "
            "out 0 and all seeds have the same sign.",
        ]
        if found["claims"]:
            lines += ["", as_markdown(claim_rows(found["claims"]))]
    minutes = result["seconds_of_all_jobs"] / 60
    lines += ["", f"The jobs' times add up to {minutes:.0f} minutes. Settings, all figures: `ablation.json`.", ""]
    return "\n".join(lines)


def score_rows(result: dict) -> list[list[str]]:
    """A header and one row a row of the ablation."""
    header = ["", "PA", "PI", "N", "D", "weights trained in stage 2"]
    rows = [header + [title for ours, theirs in SCORES.values() for title in (ours, f"paper, {theirs}")]]
    for row in result["rows"].values():
        method = "CLEF" if row["stage_1"] else "no stage 1 (paper: CLIP)"
        if row["finetuning"].get("lora_rank"):
            method = f"CLEF, LoRA of rank {row['finetuning']['lora_rank']}"
        if row["finetuning"].get("freeze_vision"):
            method = "CLEF, tower frozen"
        parts = [*STAGE_1[row["stage_1"]], *HEADS[row["finetuning"]["head"]]]
        cells = []
        for score in SCORES:
            paper = row["paper"].get(score)
            cells += [_with_interval(row["scores"][score]), "–" if paper is None else f"{paper:.1f}"]
        rows.append([method, *parts, f"{row['trained_weights']:,}", *cells])
    return rows


def claim_rows(claims: list[dict]) -> list[list[str]]:
    """A header and one row a claim: the paper's difference and ours, in points."""
    rows = [["what is added", "paper", "here", "the paper's sign?"]]
    for claim in claims:
        ours = _with_interval(claim["ours"], "+")
        rows.append([claim["claim"], f"{claim['paper']:+.1f}", ours, VERDICTS[claim["verdict"]]])
    return rows


def _with_interval(score: dict, sign: str = "") -> str:
    low, high = (100 * bound for bound in score["interval"])
    spread = "" if score["sd"] is None else f" ± {100 * score['sd']:.1f}"
    return f"{100 * score['mean']:{sign}.1f}{spread} [{low:{sign}.1f}, {high:{sign}.1f}]"
