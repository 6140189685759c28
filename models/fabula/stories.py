"""Short stories from a grammar: ten plots, each with a hero, a friend, a problem and an end.

A template holds choices `{a|b}` (they nest) and slots `[name]`. A slot is filled from one
`Cast`, so that names, pronouns and objects stay the same through the whole story.
"""

import random
import re
from dataclasses import dataclass, field

from fabula import words

CHOICE = re.compile(r"\{([^{}]*)\}")
SLOT = re.compile(r"\[([^\[\]]+)\]")
PRONOUNS = {"she": ("she", "her", "her", "herself"), "he": ("he", "him", "his", "himself")}
FEMALE = set(words.split("girl, queen, princess, witch, fairy, grandmother, old woman, hen, cow, mermaid"))
MALE = set(words.split("boy, king, prince, wizard, grandfather, old man, fisherman, postman, snowman, toy soldier"))


def article(phrase: str) -> str:
    """The phrase with `a` or `an`."""
    vowel = phrase[0].lower() in "aeiou" and not phrase.startswith(("uni", "use", "one", "eu"))
    return ("an " if vowel or phrase.startswith("hon") and not phrase.startswith("honey") else "a ") + phrase


def capital(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


def expand(rng: random.Random, template: str, slots: dict[str, str]) -> str:
    """Make every choice, innermost first, then fill the slots; `[Name]` starts a sentence."""
    while CHOICE.search(template):
        template = CHOICE.sub(lambda found: rng.choice(found[1].split("|")), template)

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        return slots[name] if name in slots else capital(slots[name[0].lower() + name[1:]])

    while SLOT.search(template):
        template = SLOT.sub(fill, template)
    return capital(re.sub(r" +", " ", template).strip())


@dataclass
class Wish:
    """What the person asked for; None leaves it to the storyteller."""

    kind: str | None = None
    quality: str | None = None
    name: str | None = None
    thing: str | None = None
    place: str | None = None
    friend_kind: str | None = None
    plot: str | None = None


@dataclass
class Story:
    """A finished story, and questions about it with their answers."""

    text: str
    sentences: list[str]
    slots: dict[str, str]
    questions: list[tuple[str, str]] = field(default_factory=list)


def pronoun_of(rng: random.Random, kind: str, name: str | None) -> str:
    """He or she, as the kind or the name says."""
    if kind in FEMALE or name in words.GIRLS:
        return "she"
    if kind in MALE or name in words.BOYS:
        return "he"
    return rng.choice(("she", "he"))


def any_kind(rng: random.Random) -> str:
    """Somebody a story may be about; animals most of all."""
    return rng.choice(rng.choices((words.ANIMALS, words.PEOPLE, words.WONDERS), (5, 2, 2))[0])


def person(rng: random.Random, prefix: str, kind: str, name: str | None, other: str = "") -> dict[str, str]:
    """Slots for one character: kind, name, pronouns. `prefix` is empty for the hero."""
    she = pronoun_of(rng, kind, name)
    while not name or name == other:
        name = rng.choice(words.GIRLS if she == "she" else words.BOYS)
    forms = dict(zip(("he", "him", "his", "himself"), PRONOUNS[she], strict=True))
    slots = {prefix + key: value for key, value in forms.items()}
    slots |= {"hero" if not prefix else "friend": name, prefix + "kind": kind, prefix + "akind": article(kind)}
    return slots


def cast(rng: random.Random, wish: Wish) -> dict[str, str]:
    """All slots of one story."""
    kind = wish.kind or any_kind(rng)
    slots = person(rng, "", kind, wish.name)
    friend_kind = wish.friend_kind or any_kind(rng)
    while friend_kind == kind:
        friend_kind = any_kind(rng)
    slots |= person(rng, "f", friend_kind, None, slots["hero"])
    quality = wish.quality or (rng.choice(words.QUALITIES) if rng.random() < 0.7 else "")
    described = f"{quality} {kind}".strip()
    thing = wish.thing or rng.choice(words.THINGS)
    colour, look = rng.choice(words.COLOURS), rng.choice(words.LOOKS)
    place, at = rng.choice(words.PLACES)
    if wish.place:
        place, at = wish.place, dict(words.PLACES)[wish.place]
    second, at2 = rng.choice([pair for pair in words.PLACES if pair[0] != place])
    slots |= {
        "adescribed": article(described), "described": described, "quality": quality or "kind", "thing": thing, "colour": colour,
        "athing": article(rng.choice((f"{colour} {thing}", f"{look} {colour} {thing}"))),
        "place": place, "at": at, "place2": second, "at2": at2, "hiding": rng.choice(words.HIDING),
        "food": rng.choice(words.FOODS),
    }
    return slots


OPENINGS = (
    "{Once upon a time|Once|Long ago|A long time ago}, there {was|lived} [adescribed] {named|called} [hero]. [He] lived [at].",
    "{Once upon a time, |Long ago, |}[adescribed] {named|called} [hero] lived [at].",
    "[Hero] was [adescribed]. [He] lived {in a small house|in a cosy little home|with [his] family} [at].",
    "There was once [adescribed] whose name was [hero]. [His] home was [at].",
)
HABITS = (
    "", "", "Every {morning|evening}, [he] {sang a little song|looked at the sky|went for a walk|said hello to the birds}.",
    "[He] liked {to sing|to read|to dance|to watch the clouds|to eat [food]|to sit in the sun}.",
    "Everybody there knew [him] and liked [him].",
)
DAYS = "{One day|One morning|One sunny day|One rainy day|One cold morning|One evening}"
ENDINGS = (
    "{From that day on|After that day|Since then}, [hero] and [friend] were {good friends|the best of friends|always together}.",
    "[Hero] {went home with a smile|went to bed very happy|was very happy that night|never forgot that day}.",
    "And [hero] {learned|knew now} that [moral].",
    "That night, [hero] {thought|said to [himself]}: \"{Yes, [moral]|[Moral]}.\"",
)
SAID = "{said|said|answered|replied}"
THANKS = "\"{Thank you|Thank you so much|Oh, thank you}{, [friend]|}!\" said [hero]."
FTHANKS = "\"{Thank you|Thank you so much|Oh, thank you}{, [hero]|}!\" said [friend]."
MEET = "{met|saw|came across} {a [fkind] named [friend]|[fakind] called [friend]|[friend] the [fkind]|[his] friend [friend], the [fkind]}"

PLOTS: dict[str, list[str]] = {
    "lost": [
        "[He] had [athing], and [he] {loved it very much|took it everywhere|was very proud of it}.",
        DAYS + ", the [thing] was {gone|not there any more|lost}. {[Hero] was very sad.|\"Oh no! Where is my [thing]?\" cried [hero].|[Hero] began to cry.}",
        "[He] looked [at2], but {it was not there|[he] did not find it|there was nothing}.",
        "Then [he] " + MEET + ". \"{Why are you sad|What is wrong|Can I help you}?\" asked [friend]. \"I {have lost|lost|cannot find} my [thing],\" said [hero].",
        "\"{Do not worry|Do not cry|Come}, {I will help you|we will look together|let us look for it},\" said [friend].",
        "{They looked everywhere.|Together they looked high and low.|They searched {all day|for a long time}.} {At last|In the end|Then}, {[friend]|[hero]} found the [thing] [hiding].",
        THANKS,
    ],
    "help": [
        DAYS + ", [hero] {went to|walked to|was on the way to} the [place2]. There [he] heard {a voice|a cry|somebody}. \"{Help|Help me|Please help me}!\"",
        "It was {[fakind] named [friend]|[friend] the [fkind]}. [Friend] [trouble].",
        "{[Hero] was a little afraid, but [he] did not run away.|[Hero] thought for a moment.|[Hero] did not wait.} \"{I will help you|Do not be afraid|Wait, I am coming},\" said [hero].",
        "[Hero] [rescue].",
        FTHANKS + " \"{You are welcome|It was nothing|I was glad to help},\" " + SAID + " [hero].",
        "{The next day|A week later}, [friend] {brought|gave} [hero] {[food]|[athing]|a basket of [food]} to say thank you.",
    ],
    "fear": [
        "But [hero] was afraid of [fear]. {[He] told nobody about it.|Everybody else laughed about it.|It made [him] sad.}",
        DAYS + ", [he] " + MEET + ". \"{Come with me|Let us go|Will you come with me} to the [place2]{,|, please,}\" said [friend].",
        "\"I cannot,\" said [hero]. \"I am afraid of [fear].\" \"{I was afraid too, once|Everybody is afraid of something|That is all right},\" said [friend]. \"{Take my hand|I will stay with you|We will go together}.\"",
        "{Slowly|Step by step|Very slowly}, they went {on|along the path}. [Hero]'s heart {beat fast|was loud as a drum}. [He] closed [his] eyes, and then [he] opened them again.",
        "[comfort] [Hero] {laughed|smiled|began to laugh}. \"{I did it|I am not afraid any more|It is not so bad}!\" [he] said.",
        "\"{I knew you could do it|You are very brave|Well done}{, [hero]|},\" said [friend].",
    ],
    "share": [
        DAYS + ", [hero] {found|got|made} {a big basket of|a lot of} [food]. \"{This is all for me|Today I will eat well|How lucky I am},\" [he] said.",
        "{On the way home|Near the [place2]|Then}, [he] " + MEET + ". [Friend] {looked tired and hungry|had eaten nothing all day|was very hungry}.",
        "\"{Could I have a little|May I have some, please|I am so hungry},\" said [friend]. [Hero] {looked at the [food]|thought about it}. {There was not much.|[He] was hungry too.|It smelled so good.}",
        "Then [he] {smiled|sat down}. \"{Come, eat with me|Let us share|There is enough for two},\" {said [hero]|[he] said}.",
        "They sat [at2] and ate {together|and talked until the sun went down|and laughed}. {Never had the [food] tasted so good.|It was the best meal of the year.}",
        "{When winter came, [friend] shared [fhis] food with [hero].|The next day, [friend] came back with [athing] for [hero].|Before [fhe] left, [friend] gave [hero] [athing].}",
    ],
    "make": [
        "[Hero] wanted to make [product]. [He] {worked all day|worked hard} with [material].",
        "But {when it was done|at the first try|in the evening}, [failure]. {[Hero] was angry.|\"I will never do it,\" said [hero].|[Hero] wanted to give up.}",
        "{Then|Just then|The next day}, [friend] the [fkind] came by. \"{What are you making|What is that|Why do you look so sad}?\" asked [friend].",
        "\"I want to make [product],\" {said [hero]|[he] said}, \"but it does not work.\" \"{Try again|Let us do it together|I can show you},\" said [friend]. \"{It takes time|Nobody can do it the first time|Four hands are better than two}.\"",
        "So they {tried again|began again|worked together}{, slowly and carefully| until the evening|}. This time, it [success]!",
        "{Everybody came to see it.|They danced for joy.|[Hero] jumped for joy.} " + THANKS,
    ],
    "journey": [
        "{All [his] life|For a long time}, [hero] had dreamed of seeing [sight].",
        DAYS + ", [he] {packed|took} {some [food]|a bag of [food]} and [athing], and {set out|left home|began to walk}.",
        "{On the road|On the second day|Near the [place2]}, [he] " + MEET + ". \"{Where are you going|Where do you go}?\" asked [friend]. \"{I want to see [sight]|To see [sight]},\" said [hero]. \"{May I come with you?|I will come with you!|Let us go together!|Then I will come with you,}\" said [friend].",
        "They {walked for three days|walked and walked|went a long way}. Then they came to [barrier]. \"{What shall we do now?|We cannot go on,|How can we go on?}\" said [hero].",
        "\"{I have an idea|Do not give up|Let us think}!\" said [friend]. They [trick], and so they could go on.",
        "At last they {stood there|were there}. It was {more beautiful than any dream|wonderful|the finest thing they had ever seen}. {They did not say a word.|\"{Look|Oh}!\" said [hero].}",
    ],
    "sorry": [
        "[Hero]'s friend [friend], the [fkind], had [athing]. [Friend] {loved it very much|was very proud of it}.",
        DAYS + ", [hero] {played with it|wanted to look at it|took it without asking}. {It fell down and broke.|Crack! It broke.|Then it slipped and broke in two.}",
        "[Hero] was {afraid|ashamed}. {[He] hid the [thing] [hiding].|\"What shall I do?\" [he] thought.|All night [he] could not sleep.}",
        "{The next morning|Soon after}, [friend] came. \"{Have you seen my [thing]|Where is my [thing]}?\" [fhe] asked.",
        "[Hero] {looked at the ground|took a deep breath}. \"I broke it,\" [he] said. \"{I am very sorry|I am so sorry|Please forgive me}.\"",
        "[Friend] was quiet for a {moment|while}. Then [fhe] said, \"{Thank you for telling me the truth|It is only a thing. You are my friend|I am sad, but I am not angry with you}.\"",
        "Together they {mended the [thing] with glue|mended it|fixed it}, and it {looked almost like new|was even nicer than before}.",
    ],
    "race": [
        "{[Friend] the [fkind] was very fast|There was also [fakind] named [friend], who was very fast}, and [fhe] {often laughed at [hero]|liked to boast}. \"You are so slow!\" {said [friend]|[fhe] said}.",
        "\"{Let us race to the [place2]|Let us have a race},\" said [hero]. {Everybody laughed.|[Friend] laughed and laughed.} The prize was [athing].",
        DAYS + ", the race began. [Friend] {ran off like the wind|was soon far ahead}. [Hero] {went step by step|did not hurry, but [he] did not stop}.",
        "{Half way|Near the end}, [friend] {stopped to eat some [food]|lay down in the shade to sleep|stopped to talk with everybody}. \"I have so much time,\" [fhe] {said|thought}.",
        "[Hero] {went on and on|walked past [him2] quietly|did not stop}. When [friend] {looked around|looked for [hero]|wanted to go on}, it was too late. [Hero] had won!",
        "\"{Well done|You were better than I was|I will never laugh at you again}{, [hero]|},\" said [friend]. [Hero] {shared the prize with [him2]|smiled and shook [his2] hand|gave [him2] a hug}.",
    ],
    "stranger": [
        "[Hero] had no friends {there|yet}, and {often felt alone|the days were long}.",
        DAYS + ", {a stranger came to the [place2]|somebody new came to the [place2]}. It was [fakind]{, big and strange| with a loud voice|}. {Everybody was afraid and ran away.|\"Go away!\" shouted the others.}",
        "But [hero] {did not run|stayed}. \"{Hello|Good day}!\" [he] said. \"{I am [hero]. Who are you|What is your name}?\"",
        "\"{My name is|I am called|I am} [friend],\" said the [fkind] {in a small voice|softly}. \"{Nobody wants to talk to me|I am all alone|You are the first who is kind to me}.\"",
        "\"{Then come with me|I am alone too|Then we can be friends}!\" said [hero]. [He] gave [friend] {some [food]|[athing]}, and they {played until the evening|talked all day|laughed a lot}.",
        "{Soon the others saw|In the end everybody saw} that [friend] was {kind and funny|friendly}, and nobody was afraid any more.",
    ],
    "secret": [
        DAYS + ", [hero] {found|saw|discovered} [athing] [hiding]. {There was a note on it.|It shone in the sun.|[He] had never seen it before.}",
        "[He] showed it to [his] friend [friend], the [fkind]. \"{I know that [thing]|That is no common [thing]|How strange},\" said [friend]. \"{It belongs to|It comes from|Let us bring it to} the [place2].\"",
        "So they went to the [place2]. {There was a small door that nobody had seen before.|Behind a curtain of leaves, they saw a small door.|Deep in a corner stood an old chest.}",
        "\"{Shall we open it|Do we dare}?\" {asked [hero]|whispered [hero]}. \"{Yes|Together},\" said [friend]. {One, two, three!|Slowly it opened.}",
        "Inside {was a room full of [food]|were a hundred old books full of stories|was a garden with flowers of every colour|were a thousand little lights}. {It was beautiful.|They could not believe their eyes.}",
        "{They told everybody|They called all their friends}, and {there was a great feast|everybody came to see it}.",
    ],
}

QUESTIONS: dict[str, list[tuple[str, str]]] = {
    "": [
        ("{What was the name of the [kind]|What was the [kind]'s name|What was the [kind] called|What is the name of the [kind]}?", "{The [kind]'s name was [hero].|[Hero].|The name of the [kind] was [hero].}"),
        ("{Who was|Who is} [hero]?", "[Hero] was [adescribed]."),
        ("Where did [hero] live?", "{[Hero] lived [at].|[He] lived [at].}"),
        ("{Who was|Who is} [friend]?", "[Friend] was {[fakind]|[fakind] and a friend of [hero]}."),
        ("{What kind of animal was|What was} [friend]?", "[Friend] was [fakind]."),
        ("{Who was the story about|Who is the hero|Who was the main character}?", "{The story was|It was} about [hero], [adescribed]."),
        ("{What did [hero] learn|What is the moral|What can we learn from the story}?", "{[Hero] learned that [moral].|We can learn that [moral].}"),
    ],
    "lost": [
        ("What did [hero] lose?", "{[Hero]|[He]} lost [his] [thing]."),
        ("Where was the [thing]?", "The [thing] was [hiding]."),
        ("{Who helped [hero]|Who helped}?", "[Friend] the [fkind] helped [him]."),
        ("What colour was the [thing]?", "The [thing] was [colour]."),
    ],
    "help": [("{Who needed help|Who did [hero] help}?", "{[Hero] helped [friend]|It was [friend]}, the [fkind]."), ("What was wrong with [friend]?", "[Friend] [trouble].")],
    "fear": [("What was [hero] afraid of?", "[Hero] was afraid of [fear]."), ("Is [hero] still afraid?", "No, [hero] is not afraid any more.")],
    "share": [("What did {they|[hero]} eat?", "They ate [food]."), ("Who was hungry?", "[Friend] the [fkind] was hungry.")],
    "make": [("What did [hero] make?", "[Hero] made [product]."), ("What went wrong{ at first|}?", "At the first try, [failure].")],
    "journey": [("{Where did [hero] want to go|What did [hero] want to see}?", "[Hero] wanted to see [sight]."), ("What was in their way?", "They came to [barrier].")],
    "sorry": [("What did [hero] break?", "[Hero] broke [friend]'s [thing]."), ("Was [friend] angry?", "No, [friend] was not angry. [Fhe] forgave [hero].")],
    "race": [("Who won{ the race|}?", "[Hero] won the race."), ("What was the prize?", "The prize was [athing].")],
    "stranger": [("Who was the stranger?", "The stranger was [friend], [fakind]."), ("Why was [hero] sad?", "[Hero] had no friends yet.")],
    "secret": [("What did [hero] find?", "[Hero] found [athing]."), ("Where was the [thing]?", "The [thing] was [hiding].")],
}


def furnish(rng: random.Random, plot: str, slots: dict[str, str]) -> None:
    """Add the slots that only some plots use."""
    moral = expand(rng, words.MORALS[plot], slots)
    slots["moral"] = moral[0].lower() + moral[1:]
    slots["him2"], slots["his2"] = slots["fhim"], slots["fhis"]
    trouble, rescue = rng.choice(words.TROUBLES)
    fear, comfort = rng.choice(words.FEARS)
    product, material, failure, success = rng.choice(words.MAKES)
    barrier, trick = rng.choice(words.BARRIERS)
    slots |= {
        "trouble": trouble, "rescue": rescue, "fear": fear, "comfort": comfort.replace("{", "[").replace("}", "]"),
        "product": product, "material": material, "failure": failure, "success": success,
        "barrier": barrier.replace("a deep snow", "deep snow").replace("a thick fog", "thick fog"),
        "trick": trick, "sight": rng.choice(words.SIGHTS),
    }


def tell(rng: random.Random, wish: Wish) -> Story:
    """One story that grants the wish."""
    plot = wish.plot or rng.choice(list(PLOTS))
    slots = cast(rng, wish)
    furnish(rng, plot, slots)
    opening = rng.choice(OPENINGS)
    habit = rng.choice(HABITS[:-1] if plot == "stranger" else HABITS)
    beats = [opening, habit, *PLOTS[plot]]
    endings = rng.sample(ENDINGS, 2)
    if all("moral]" in ending for ending in endings):
        endings.pop()
    beats += endings if rng.random() < 0.5 else endings[:1]
    beats += ["And they lived happily ever after."] if rng.random() < 0.15 else []
    sentences = [line for line in (expand(rng, beat, slots) for beat in beats) if line]
    breaks = rng.random() < 0.5
    cut = rng.randint(2, 4)
    text = " ".join(sentences[:cut]) + ("\n\n" if breaks else " ") + " ".join(sentences[cut:])
    pairs = QUESTIONS[""] + QUESTIONS[plot] * 2
    if not any("moral]" in ending for ending in endings):
        pairs = [pair for pair in pairs if "[moral]" not in pair[1]]
    questions = [(expand(rng, ask, slots), expand(rng, answer, slots)) for ask, answer in rng.sample(pairs, 5)]
    return Story(text, sentences, slots, list(dict(questions).items()))


if __name__ == "__main__":
    generator = random.Random(1)
    for _ in range(8):
        story = tell(generator, Wish())
        print(story.text, story.questions, sep="\n", end="\n\n")
