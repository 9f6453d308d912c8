"""Everyday phrasings of the labels: some are shown in training, others are kept for evaluation.

All are our own wording: noun phrases that read as English in `prompts_clef.PHRASING_TEMPLATES`. So that the held-out
phrasings are unseen, no text of training (names, descriptions, phrasings, activities, templates) may contain, in any
form, the words smile, grin, beam, laugh, frown and crinkle, nor "raised eyebrows" and "showing teeth".
"""

# One string a label, phrasings between semicolons.
_PHRASINGS: dict[str, str] = {
    "AU1": (
        "raised inner eyebrows; inner brows pulled up; the inner ends of the eyebrows lifted; eyebrows slanting up "
        "toward the middle; lifted inner brows; eyebrows rising in the middle; worried-looking slanted eyebrows; "
        "wrinkles in the centre of the forehead; inner eyebrow corners drawn upward; tented eyebrows"
    ),
    "AU2": (
        "raised outer eyebrows; outer brows pulled up; the outer ends of the eyebrows lifted; arched outer eyebrows; "
        "lifted outer brows; eyebrows rising at the sides; wrinkles above the outer eyebrows; the tails of the "
        "eyebrows drawn upward; eyebrows flaring up at the temples; high outer brow corners"
    ),
    "AU4": (
        "lowered eyebrows; eyebrows pulled together; knitted brows; furrowed brows; a furrowed forehead; drawn-down "
        "eyebrows; brows squeezed together; a crease between the eyebrows; eyebrows pressed down over the eyes; "
        "a scowling brow; vertical lines between the brows; a stern, lowered brow"
    ),
    "AU5": (
        "raised upper eyelids; wide open eyes; widened eyes; eyes opened wide; staring eyes; bulging eyes; upper lids "
        "pulled up; eyes with the white visible above the iris; big round eyes; wide-eyed stare"
    ),
    "AU6": (
        "raised cheeks; lifted cheeks; cheeks pushed up; bunched cheeks; crow's feet beside the eyes; cheeks pressing "
        "up against the eyes; wrinkles at the outer corners of the eyes; eyes squeezed from below by the cheeks; "
        "plump, lifted cheeks; high, rounded cheeks; pouches under merry eyes"
    ),
    "AU7": (
        "tightened eyelids; narrowed eyes; squinting eyes; tense eyelids; raised lower eyelids; eyes narrowed to "
        "slits; a squint; tense lower lids; a hard, narrow gaze; half-shut, tense eyes"
    ),
    "AU9": (
        "a wrinkled nose; a scrunched nose; a scrunched-up nose; wrinkles on the bridge of the nose; a nose pulled "
        "up; wrinkles across the nose; a screwed-up nose; skin bunched along the sides of the nose; a nose wrinkling "
        "as at a bad smell; nostrils pulled up"
    ),
    "AU10": (
        "a raised upper lip; an upper lip pulled up; a lifted upper lip; a curled upper lip; an upper lip drawn "
        "toward the nose; a sneering upper lip; bared upper gums; a squared-off upper lip; an upper lip curling in "
        "disgust; a lip raised toward the nostrils"
    ),
    "AU12": (
        "corners of the mouth pulled up; upturned mouth corners; lip corners pulled up; raised lip corners; an "
        "upturned mouth; mouth corners lifted toward the cheeks; a mouth curved upward; lip corners drawn back and up; "
        "the ends of the lips turned up; a mouth widened and curving up; a happy mouth; a pleased, upward-curving mouth"
    ),
    "AU14": (
        "dimples beside the mouth; tightened mouth corners; mouth corners pulled inward; dimpled cheeks; lip corners "
        "tucked in; a smirk; pinched mouth corners; a small hollow at the corner of the mouth; mouth corners pressed "
        "into the cheeks; tucked-in lip corners"
    ),
    "AU15": (
        "corners of the mouth pulled down; downturned mouth corners; lip corners pulled down; a downturned mouth; "
        "drooping mouth corners; lowered lip corners; a mouth curved downward; the ends of the lips turned down; a sad "
        "mouth; sagging lip corners"
    ),
    "AU17": (
        "a raised chin; a wrinkled chin; a chin pushed up; a dimpled, bunched chin; a chin pushing up the lower "
        "lip; a lower lip pushed up; a tense, puckered chin; a pouting lower lip; chin skin pulled up; an upturned, "
        "wrinkled chin"
    ),
    "AU18": (
        "puckered lips; pursed lips; lips pushed forward; kissing lips; a kissing mouth; rounded, protruding lips; "
        "a puckered mouth; lips drawn to a point; a mouth shaped for a kiss; lips as if whistling; a small, round "
        "mouth; a pucker"
    ),
    "AU20": (
        "stretched lips; lips stretched sideways; a mouth stretched wide sideways; lips pulled back toward the ears; "
        "a flattened, stretched mouth; mouth corners pulled straight back; horizontally stretched lips; a tense, "
        "widened mouth; a fearful, stretched mouth; a grimacing mouth"
    ),
    "AU23": (
        "tightened lips; tight lips; narrowed lips; thin, tense lips; tense lips; lips made thin; hardened lips; "
        "a tight mouth; lips tightened in anger; narrow, rolled-in lips"
    ),
    "AU24": (
        "pressed lips; lips pressed together; firmly closed lips; a mouth pressed shut; lips squeezed together; "
        "compressed lips; a firmly shut mouth; a thin line of a mouth; lips pushed against each other; a clamped mouth"
    ),
    "AU25": (
        "parted lips; slightly open lips; lips apart; an open mouth; separated lips; a slightly open mouth; lips that "
        "do not touch; visible teeth; a gap between the lips; teeth visible between the lips; unclosed lips; "
        "bared teeth"
    ),
    "AU26": (
        "a dropped jaw; a lowered jaw; a hanging jaw; a slack jaw; a relaxed, open jaw; a mouth hanging open; a "
        "jaw fallen open; an opened mouth with a loose jaw; a drooping lower jaw; teeth held apart"
    ),
    "AU27": (
        "a wide open mouth; a mouth stretched open; a gaping mouth; a mouth opened as far as it goes; a yawning mouth; "
        "a screaming mouth; a shouting mouth; a jaw pulled far down; a huge open mouth; a mouth agape"
    ),
    "AU28": (
        "sucked-in lips; lips sucked in; lips rolled inward; hidden lips; lips folded over the teeth; lips drawn into "
        "the mouth; a mouth with the lips tucked in; lips pulled inside; lips bitten inward; lips that have disappeared"
    ),
    "AU45": (
        "closed eyes; shut eyes; eyes closed; eyes shut; closed eyelids; lowered eyelids over the eyes; blinking eyes; "
        "eyelids that are shut; eyes in a blink; sleeping eyes; eyes hidden behind the lids"
    ),
    "neutral": (
        "a neutral face; a relaxed face; a calm face; a blank face; no expression; an expressionless face; a face at "
        "rest; a blank expression; a calm expression; an impassive face; a resting face; a plain, unmoved face"
    ),
    "happiness": (
        "a happy face; a happy expression; joy; a joyful face; a cheerful face; a cheerful expression; a delighted "
        "look; a merry face; amusement; a glad expression; a pleased face; a look of delight; an amused face"
    ),
    "sadness": (
        "a sad face; a sad expression; sorrow; a sorrowful face; an unhappy face; a gloomy look; a downcast face; "
        "grief; a tearful expression; a miserable face; a mournful look; a dejected face"
    ),
    "surprise": (
        "a surprised face; a surprised expression; astonishment; an astonished face; a startled look; amazement; an "
        "amazed expression; a stunned face; a shocked look; a look of wonder; an open-mouthed, wide-eyed look"
    ),
    "fear": (
        "a fearful face; a fearful expression; a scared face; a frightened look; terror; a terrified face; an afraid "
        "expression; a panicked look; an anxious, frightened face; a look of horror; dread"
    ),
    "disgust": (
        "a disgusted face; a disgusted expression; revulsion; a revolted look; a repelled face; a look of distaste; "
        "a nauseated expression; a grossed-out face; a face as at a foul smell; an expression of loathing"
    ),
    "anger": (
        "an angry face; an angry expression; rage; a furious face; a mad look; fury; an enraged expression; an "
        "irritated face; a hostile look; a glaring, angry face; a look of outrage"
    ),
    "contempt": (
        "a contemptuous face; a contemptuous expression; scorn; a scornful look; a disdainful face; disdain; a "
        "look of superiority; a dismissive expression; a one-sided sneer; a derisive face"
    ),
}

PHRASINGS: dict[str, tuple[str, ...]] = {label: tuple(text.split("; ")) for label, text in _PHRASINGS.items()}

# Never shown in training; evaluation asks whether the model understands them all the same.
UNSEEN_PHRASINGS: dict[str, tuple[str, ...]] = {
    "AU1": ("raised eyebrows",),
    "AU2": ("raised eyebrows",),
    "AU4": ("a frown", "a frowning brow"),
    "AU6": ("smiling eyes", "eyes crinkled at the corners"),
    "AU9": ("a crinkled nose",),
    "AU12": ("smiling", "a big smile", "a wide smile", "a grin", "a smile"),
    "AU25": ("showing teeth",),
    "happiness": ("a smiling face", "a beaming face", "a laughing face", "a big grin"),
    "anger": ("an angry frown",),
}

__all__ = ["PHRASINGS", "UNSEEN_PHRASINGS"]
