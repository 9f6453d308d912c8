import pytest
import torch

from benchmarks import classify
from benchmarks.classify import Case, label_texts, make_variants

SIZE = 32


@pytest.fixture
def cases(tiny_towers, monkeypatch):
    found = [
        Case("face-resnet", SIZE, *tiny_towers["small tower"], 2, 2),
        Case("ViT-B/16", SIZE, *tiny_towers["ViT-B/16"], 2, 1),
    ]
    monkeypatch.setattr(classify, "cases", lambda: found)
    return {case.name: case for case in found}


def test_the_result_has_every_batch_and_number_of_labels(cases, written, check_ratio):
    result = written(classify.main)
    found = {(case["name"], case["labels"], case["batch"]) for case in result["cases"]}
    assert found == {(name, labels, batch) for name in cases for labels in (12, 40) for batch in (1, 32)}
    for case in result["cases"]:
        assert case["share_of_tower"].keys() - {"classifier, folded"} == {"classifier", "classifier, labels frozen"}
        for share in case["share_of_tower"].values():
            check_ratio(share)
        convolutional = case["name"] == "face-resnet"
        assert ("classifier, folded" in case["share_of_tower"]) == convolutional
        assert ("share_of_folded_tower" in case) == ("tower, folded" in case["images_a_second"]) == convolutional
        assert ("speed_over_stock" in case) == (case["name"] == "ViT-B/16") == ("stock" in case["images_a_second"])
    only = written(classify.main, "--towers", "face-resnet", "--batches", 1, "--rounds", 1)
    assert [(case["labels"], case["batch"], case["rounds"]) for case in only["cases"]] == [(12, 1, 1), (40, 1, 1)]


def test_variants_classify_the_same_labels(cases):
    with torch.inference_mode():
        variants = make_variants(cases["ViT-B/16"], 12, 3)
        frozen, joined, stock = (variants[name]() for name in ("classifier, labels frozen", "classifier", "stock"))
    assert frozen.shape == stock.shape == (3, 12)
    torch.testing.assert_close(frozen, joined)
    # Cosines to the same texts: the classifier's logits are an increasing straight line of stock CLIP's.
    slope, offset = torch.linalg.lstsq(
        torch.stack([stock.flatten(), torch.ones(36)], dim=1).clone(), frozen.flatten()[:, None].clone()
    ).solution.flatten()
    assert slope > 0
    torch.testing.assert_close(stock * slope + offset, frozen, rtol=0, atol=1e-3)


def test_the_folded_classifier_gives_the_same_logits(cases):
    with torch.inference_mode():
        variants = make_variants(cases["face-resnet"], 12, 3)
        for whole, folded in (("tower", "tower, folded"), ("classifier, labels frozen", "classifier, folded")):
            torch.testing.assert_close(variants[folded](), variants[whole](), atol=1e-5, rtol=1e-5)


def test_labels_are_distinct_and_not_more_than_there_are():
    assert len(set(label_texts(40).values())) == len(label_texts(40)) == 40
    with pytest.raises(ValueError, match="got 900 labels"):
        label_texts(900)
