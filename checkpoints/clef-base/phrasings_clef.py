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
        "wrinkles in the centre of the forehead; inner eyebrow corners drawn upward; tented eyebrows; eyebrows lifted "
        "at the inner ends; brows raised in the middle of the forehead; a pleading brow; sorrowful, slanted brows; "
        "brows forming a little roof; inner brows arched upward in worry; a pained, upturned brow; brows tilted up "
        "toward each other; concerned eyebrows; short wrinkles above the nose root, with the brows up; puppy-dog "
        "brows; an imploring look of the brows"
    ),
    "AU2": (
        "raised outer eyebrows; outer brows pulled up; the outer ends of the eyebrows lifted; arched outer eyebrows; "
        "lifted outer brows; eyebrows rising at the sides; wrinkles above the outer eyebrows; the tails of the "
        "eyebrows drawn upward; eyebrows flaring up at the temples; high outer brow corners; eyebrows lifted at the "
        "outer ends; highly arched brows; raised brows at the temples; brows curving up at the sides; a sceptical arch "
        "of the brows; outer brows lifted in surprise; one brow arched high; an arched eyebrow; brows sweeping upward "
        "and outward; lifted brows; high brows; wrinkles across the side of the forehead"
    ),
    "AU4": (
        "lowered eyebrows; eyebrows pulled together; knitted brows; furrowed brows; a furrowed forehead; drawn-down "
        "eyebrows; brows squeezed together; a crease between the eyebrows; eyebrows pressed down over the eyes; a "
        "scowling brow; vertical lines between the brows; a stern, lowered brow; a lowered brow; drawn-together brows; "
        "contracted brows; a brow knitted in concentration; a glowering brow; bunched-up eyebrows; heavy, lowered "
        "brows; a worried crease on the brow; an angry brow; a puzzled, furrowed brow; deep furrows between the "
        "eyebrows; a scowl; a dark look under lowered brows; a grumpy brow"
    ),
    "AU5": (
        "raised upper eyelids; wide open eyes; widened eyes; eyes opened wide; staring eyes; bulging eyes; upper lids "
        "pulled up; eyes with the white visible above the iris; big round eyes; wide-eyed stare; eyes stretched open; "
        "eyes popping; very wide eyes; a startled stare; alarmed, wide eyes; goggling eyes; glaring eyes; upper lids "
        "lifted high; the whites of the eyes showing; eyes open as wide as possible; a fixed, wide-open stare; "
        "astonished eyes"
    ),
    "AU6": (
        "raised cheeks; lifted cheeks; cheeks pushed up; bunched cheeks; crow's feet beside the eyes; cheeks pressing "
        "up against the eyes; wrinkles at the outer corners of the eyes; eyes squeezed from below by the cheeks; "
        "plump, lifted cheeks; high, rounded cheeks; pouches under merry eyes; puffed-up cheeks below the eyes; cheeks "
        "raised high; cheeks lifted toward the eyes; fine lines fanning out from the eyes; lines of merriment at the "
        "eyes; joyful, narrowed eyes; cheerful eyes; twinkling eyes; eyes lit up with joy; rosy, bulging cheeks; "
        "wrinkled outer eye corners; skin gathered around the outer eyes; happy eyes"
    ),
    "AU7": (
        "tightened eyelids; narrowed eyes; squinting eyes; tense eyelids; raised lower eyelids; eyes narrowed to "
        "slits; a squint; tense lower lids; a hard, narrow gaze; half-shut, tense eyes; eyelids drawn tight; eyes "
        "screwed up; suspicious, narrowed eyes; eyes squinting into the sun; a piercing, narrowed gaze; a sharp "
        "squint; half-closed eyes; lower lids pulled up and tight; eyes pinched into a narrow line; concentrated, "
        "narrowed eyes; straining eyes"
    ),
    "AU9": (
        "a wrinkled nose; a scrunched nose; a scrunched-up nose; wrinkles on the bridge of the nose; a nose pulled up; "
        "wrinkles across the nose; a screwed-up nose; skin bunched along the sides of the nose; a nose wrinkling as at "
        "a bad smell; nostrils pulled up; a nose pulled up and wrinkled; a wrinkled-up nose; a nose in folds; a "
        "turned-up, wrinkled nose; creases beside the nose; a wrinkled nose bridge; a nose wrinkled with disgust; nose "
        "scrunching; snarling nose; a face wrinkling its nose at a stench; a bunny nose; flared, lifted nostrils"
    ),
    "AU10": (
        "a raised upper lip; an upper lip pulled up; a lifted upper lip; a curled upper lip; an upper lip drawn toward "
        "the nose; a sneering upper lip; bared upper gums; a squared-off upper lip; an upper lip curling in disgust; a "
        "lip raised toward the nostrils; an upper lip raised on both sides; a sneer; a snarl; a snarling upper lip; "
        "the upper lip lifted off the teeth; the upper lip pulled up to show the gums; a raised, curled lip; an upper "
        "lip hitched up; lip curling upward; a disgusted upper lip; a square-shaped upper lip; deep folds from the "
        "nose to the raised lip"
    ),
    "AU12": (
        "corners of the mouth pulled up; upturned mouth corners; lip corners pulled up; raised lip corners; an "
        "upturned mouth; mouth corners lifted toward the cheeks; a mouth curved upward; lip corners drawn back and up; "
        "the ends of the lips turned up; a mouth widened and curving up; a happy mouth; a pleased, upward-curving "
        "mouth; a happy, upturned mouth; a cheerful mouth; a friendly mouth; a mouth turned up at both ends; a wide, "
        "happy mouth; big, happy lips drawn wide; the mouth of someone who is amused; a joyful mouth; a warm, "
        "welcoming mouth; a big, upward curve of the mouth; a broad, cheerful curve of the lips; lips curled up in "
        "joy; a delighted mouth; a jolly mouth; a polite, pleasant curve of the lips; mouth corners up"
    ),
    "AU14": (
        "dimples beside the mouth; tightened mouth corners; mouth corners pulled inward; dimpled cheeks; lip corners "
        "tucked in; a smirk; pinched mouth corners; a small hollow at the corner of the mouth; mouth corners pressed "
        "into the cheeks; tucked-in lip corners; a dimple at each side of the mouth; deep dimples; a smug mouth; lip "
        "corners pressed inward; a dented mouth corner; a one-sided smirk; mouth corners drawn tight against the "
        "teeth; dimpled mouth corners; a sarcastic twist of the mouth corner; a self-satisfied mouth; pressed-in lip "
        "corners; mouth corners sucked in"
    ),
    "AU15": (
        "corners of the mouth pulled down; downturned mouth corners; lip corners pulled down; a downturned mouth; "
        "drooping mouth corners; lowered lip corners; a mouth curved downward; the ends of the lips turned down; a sad "
        "mouth; sagging lip corners; mouth corners turned down; a mouth turned down at both ends; an unhappy mouth; a "
        "gloomy mouth; a glum mouth; lip corners sinking; lips bent downward; a mouth shaped like an upside-down U; a "
        "disappointed mouth; a sulky mouth; mouth corners dragged down; a sorrowful mouth"
    ),
    "AU17": (
        "a raised chin; a wrinkled chin; a chin pushed up; a dimpled, bunched chin; a chin pushing up the lower lip; a "
        "lower lip pushed up; a tense, puckered chin; a pouting lower lip; chin skin pulled up; an upturned, wrinkled "
        "chin; a pushed-up chin; a chin boss raised; a puckered chin; an orange-peel chin; a quivering chin before "
        "tears; a chin with wrinkles; a pout; a pouting mouth; a jutting lower lip; the chin lifting the lower lip; a "
        "bunched-up chin; a doubtful, raised chin"
    ),
    "AU18": (
        "puckered lips; pursed lips; lips pushed forward; kissing lips; a kissing mouth; rounded, protruding lips; a "
        "puckered mouth; lips drawn to a point; a mouth shaped for a kiss; lips as if whistling; a small, round mouth; "
        "a pucker; lips puckered up; a kiss; lips rounded as for an o; lips pushed out; a duck-like pout of the lips; "
        "a whistling mouth; lips gathered together; lips squeezed to the middle; a mouth pursed into a small circle; "
        "lips in kissing position; a blown kiss; scrunched, rounded lips"
    ),
    "AU20": (
        "stretched lips; lips stretched sideways; a mouth stretched wide sideways; lips pulled back toward the ears; a "
        "flattened, stretched mouth; mouth corners pulled straight back; horizontally stretched lips; a tense, widened "
        "mouth; a fearful, stretched mouth; a grimacing mouth; lips pulled to the sides; lips drawn back; a mouth "
        "pulled wide and flat; a tense mouth stretched to the sides; a grimace; a mouth stretched in fear; lips "
        "stretched toward the ears; an eek mouth; a strained, wide mouth; a horizontal mouth with stretched corners; "
        "lips thinned by stretching; a cringing mouth"
    ),
    "AU23": (
        "tightened lips; tight lips; narrowed lips; thin, tense lips; tense lips; lips made thin; hardened lips; a "
        "tight mouth; lips tightened in anger; narrow, rolled-in lips; lips drawn tight; tensed lips; narrow lips; "
        "lips tightened into a line; tight-lipped; a tense mouth; angrily tightened lips; thinned lips; rigid lips; "
        "tight, small lips; lips strained and narrow; a hard, tight mouth"
    ),
    "AU24": (
        "pressed lips; lips pressed together; firmly closed lips; a mouth pressed shut; lips squeezed together; "
        "compressed lips; a firmly shut mouth; a thin line of a mouth; lips pushed against each other; a clamped "
        "mouth; lips pressed firmly; a pressed mouth; lips pressed tight; a mouth held shut; tightly closed lips; lips "
        "squashed together; lips clamped together; lips shut hard; a sealed mouth; lips jammed against each other; a "
        "mouth that is pressed into a line; pressed-together lips"
    ),
    "AU25": (
        "parted lips; slightly open lips; lips apart; an open mouth; separated lips; a slightly open mouth; lips that "
        "do not touch; visible teeth; a gap between the lips; teeth visible between the lips; unclosed lips; bared "
        "teeth; open lips; a mouth that is open; a partly open mouth; lips that are apart; lips open; the teeth "
        "showing through the lips; a mouth slightly ajar; teeth on view; a visible row of teeth; a mouth open in "
        "speech; open lips with teeth; a toothy mouth; exposed teeth; gritted teeth with the lips apart"
    ),
    "AU26": (
        "a dropped jaw; a lowered jaw; a hanging jaw; a slack jaw; a relaxed, open jaw; a mouth hanging open; a jaw "
        "fallen open; an opened mouth with a loose jaw; a drooping lower jaw; teeth held apart; a jaw hanging down; "
        "jaw dropped; a loosely open jaw; the lower jaw dropped; an open jaw; a mouth dropped open; a chin that has "
        "dropped; a slackened jaw; a jaw let down; a mouth open with a relaxed jaw; lowered lower jaw; a jaw hanging "
        "loose in wonder"
    ),
    "AU27": (
        "a wide open mouth; a mouth stretched open; a gaping mouth; a mouth opened as far as it goes; a yawning mouth; "
        "a screaming mouth; a shouting mouth; a jaw pulled far down; a huge open mouth; a mouth agape; a mouth wide "
        "open; a mouth opened very wide; a mouth stretched open in a scream; a mouth open for the dentist; a big yawn; "
        "a roaring mouth; a mouth open as in a shout; a mouth opened to the full; a cavernous mouth; a wide, round, "
        "open mouth; a scream; a yawn"
    ),
    "AU28": (
        "sucked-in lips; lips sucked in; lips rolled inward; hidden lips; lips folded over the teeth; lips drawn into "
        "the mouth; a mouth with the lips tucked in; lips pulled inside; lips bitten inward; lips that have "
        "disappeared; lips pulled into the mouth; lips curled in over the teeth; both lips sucked in; vanished lips; "
        "lips rolled in; lips turned inward; lips swallowed; a lipless mouth; lips drawn in over the teeth; the red of "
        "the lips hidden; tucked-in lips; lips held between the teeth"
    ),
    "AU45": (
        "closed eyes; shut eyes; eyes closed; eyes shut; closed eyelids; lowered eyelids over the eyes; blinking eyes; "
        "eyelids that are shut; eyes in a blink; sleeping eyes; eyes hidden behind the lids; eyes that are closed; "
        "eyelids closed; a blink; blinking; both eyes shut; shut eyelids; lids lowered; sleepy, closed eyes; eyes in "
        "sleep; eyes that do not see; closed lids; peacefully closed eyes"
    ),
    "neutral": (
        "a neutral face; a relaxed face; a calm face; a blank face; no expression; an expressionless face; a face at "
        "rest; a blank expression; a calm expression; an impassive face; a resting face; a plain, unmoved face; an "
        "emotionless face; a deadpan face; a straight face; a poker face; an unmoved expression; an ordinary, still "
        "face; no emotion; a serious, relaxed face; an indifferent face; a quiet face; a passport-photo face; a "
        "composed face; an idle face"
    ),
    "happiness": (
        "a happy face; a happy expression; joy; a joyful face; a cheerful face; a cheerful expression; a delighted "
        "look; a merry face; amusement; a glad expression; a pleased face; a look of delight; an amused face; a "
        "radiant face; a face glowing with joy; a face shining with happiness; a bright, happy look; a face full of "
        "fun; a playful, happy look; an elated face; a thrilled face; hilarity; a warm, friendly face; an overjoyed "
        "expression; a contented face; a gleeful face; a face lit up with delight; great amusement at a joke"
    ),
    "sadness": (
        "a sad face; a sad expression; sorrow; a sorrowful face; an unhappy face; a gloomy look; a downcast face; "
        "grief; a tearful expression; a miserable face; a mournful look; a dejected face; a sorrowing face; a weeping "
        "face; a face close to tears; a heartbroken face; a depressed face; a melancholy face; a disappointed face; a "
        "hurt look; a grieving face; a crying face; a despairing look; a forlorn face"
    ),
    "surprise": (
        "a surprised face; a surprised expression; astonishment; an astonished face; a startled look; amazement; an "
        "amazed expression; a stunned face; a shocked look; a look of wonder; an open-mouthed, wide-eyed look; an "
        "astounded face; a flabbergasted face; a face caught off guard; a gasp of surprise; a startled face; wonder; "
        "an incredulous, surprised look; a dumbfounded face; a wow face; a face that did not expect this; a gasping "
        "face; shock and amazement"
    ),
    "fear": (
        "a fearful face; a fearful expression; a scared face; a frightened look; terror; a terrified face; an afraid "
        "expression; a panicked look; an anxious, frightened face; a look of horror; dread; a horrified face; a face "
        "full of fear; fright; panic; an alarmed face; an anxious face; a face in terror; a petrified look; a nervous, "
        "frightened face; a threatened look; an intimidated face; a face shrinking back in fear"
    ),
    "disgust": (
        "a disgusted face; a disgusted expression; revulsion; a revolted look; a repelled face; a look of distaste; a "
        "nauseated expression; a grossed-out face; a face as at a foul smell; an expression of loathing; a face full "
        "of disgust; a sickened face; a queasy face; repugnance; a face that smells something rotten; a yuck face; a "
        "face tasting something bitter; an appalled, disgusted look; aversion; nausea; a repulsed face; a face turning "
        "away from filth"
    ),
    "anger": (
        "an angry face; an angry expression; rage; a furious face; a mad look; fury; an enraged expression; an "
        "irritated face; a hostile look; a glaring, angry face; a look of outrage; an annoyed face; a wrathful face; a "
        "raging face; a livid face; a cross face; a face full of hate; a threatening look; a grim, angry look; an "
        "outraged face; an infuriated face; a fierce look; a scowling face; aggression"
    ),
    "contempt": (
        "a contemptuous face; a contemptuous expression; scorn; a scornful look; a disdainful face; disdain; a look of "
        "superiority; a dismissive expression; a one-sided sneer; a derisive face; a sneering face; a mocking look; a "
        "smug face; a haughty face; an arrogant face; a supercilious look; a condescending look; a snide look; a face "
        "that looks down on someone; a disparaging look; a sarcastic face; disrespect"
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
