"""All text that Fabula learns from: conversations, written by the grammar and nobody else.

Run it to read some of them.
"""

import random

from fabula import facts, words
from fabula.stories import Story, Wish, expand, tell

Turn = tuple[str, str]

SYSTEMS = (
    "You are Fabula, a small storyteller.", "You are a helpful assistant.", "You are Fabula.", "Answer briefly.",
    "You are a friendly assistant. Answer in simple words.", "You tell short stories for children.",
)
ASKS = (
    "{Tell me|Tell me|Tell|Write|Write me|Give me|Can you tell me|I want|I would like|Please tell me|Could you write|Make up|Can you write|Please write} {a|a|a short|a little|a nice} {story|story|story|tale}",
    "{I want to hear|Let me hear|Do you know} {a|a short} story", "{Story|A story|Short story}",
    "{Tell me|Tell|Write|Read me|Give me} a {bedtime story|fairy tale|funny story|long story|very short story|children's story|new story}",
)
ABOUT = {
    "": (
        "[akind]", "[akind]", "the [kind]", "[adescribed]", "[adescribed]", "[adescribed] named [hero]", "[akind] called [hero]", "[akind] named [hero]",
        "[hero]", "[hero] the [kind]", "[akind] and [fakind]", "[akind] {at|near|in} the [place]", "[adescribed] and [fakind]", "{a talking [kind]|my [kind]}",
        "[hero] and [friend]", "[kind]s", "[akind] and [his] friend [friend]", "{the [place]|a day {at|in} the [place]|life in the [place]}",
        "{a|the} {very |}[described]", "[akind] who {lives|lived|is|was} {at|in|near} the [place]", "a magic [kind]",
    ),
    "lost": ("[akind] who {lost|loses|cannot find} [his] [thing]", "[adescribed] and {a|the|[his]} lost [thing]", "[adescribed] who lost [athing]", "a lost [thing]", "[akind] and a [thing]"),
    "help": ("[akind] who helps {a friend|[fakind]}", "{helping|kindness|help}", "[akind] who saves [fakind]"),
    "fear": ("[akind] who is afraid of [fear]", "{being brave|courage|fear}", "[akind] who learns to be brave"),
    "share": ("[akind] who {shares|learns to share}", "sharing", "[akind] and [food]"),
    "make": ("[akind] who {makes|builds|wants to make} [product]", "{trying again|never giving up}", "[akind] and [product]"),
    "journey": ("[akind] who wants to see [sight]", "{a journey|a long way|an adventure|a trip}", "[akind] who goes on {a journey|an adventure}"),
    "sorry": ("[akind] who broke a [thing]", "{saying sorry|telling the truth|honesty|forgiving}", "[akind] and a broken [thing]"),
    "race": ("a race between [akind] and [fakind]", "a race", "[akind] who wins a race"),
    "stranger": ("[akind] who has no friends", "{friendship|a new friend|friends|a stranger}", "[akind] who finds a friend", "a lonely [kind]"),
    "secret": ("[akind] who finds [athing]", "{a treasure|a secret|a secret door|a mystery}", "[akind] and {a|the} magic [thing]"),
}
MORE = "{Another one|Another story|One more|Tell me another story|Another one, please|Tell me another one|More|Again|Next|Tell me more|Please another}"
KEEP_CAPITAL = {"I", "I'm", *words.FRIEND_NAMES}
PREFIXES = ("", "", "", "", "", "", "Please, ", "Hi! ", "Hello! ", "OK, ", "Fabula, ", "And ", "So, ")


def sloppy(rng: random.Random, ask: str) -> str:
    """The words as people type them: sometimes in small letters, or without the last mark."""
    prefix = rng.choice(PREFIXES)
    first = ask.split()[0].strip(",.!?")
    if prefix and not prefix.endswith("! ") and first not in KEEP_CAPITAL:
        ask = ask[:1].lower() + ask[1:]
    ask = prefix + ask
    if rng.random() < 0.3:
        ask = ask.lower()
    if rng.random() < 0.25:
        ask = ask.rstrip("?.! ") or ask
    return ask


def wish(rng: random.Random) -> Wish:
    """Mostly anything; sometimes a hero that no list holds."""
    roll = rng.random()
    if roll < 0.10:
        return Wish(kind=facts.novel_word(rng))
    if roll < 0.16:
        return Wish(kind=rng.choice(words.THINGS))
    if roll < 0.22:
        return Wish(name=facts.novel_word(rng).capitalize())
    return Wish()


def story_ask(rng: random.Random, story: Story, plot: str) -> str:
    """Words that ask for this very story."""
    ask = expand(rng, rng.choices(ASKS, (16, 2, 1, 3))[0], {})
    if rng.random() < 0.06:
        return ask + rng.choice((".", "!", ""))
    about = rng.choice(ABOUT[plot] if rng.random() < 0.35 else ABOUT[""])
    an = "an" if story.slots["thing"][0] in "aeiou" else "a"
    topic = expand(rng, about.replace("a [thing]", f"{an} [thing]"), story.slots)
    if not topic.startswith((story.slots["hero"], story.slots["friend"])):
        topic = topic[:1].lower() + topic[1:]
    return f"{ask} about {topic}{rng.choice(('.', '', '', '!'))}"


def story_turns(rng: random.Random) -> list[Turn]:
    """A story on demand, then perhaps questions about it."""
    wanted = wish(rng)
    wanted.plot = rng.choice(list(ABOUT)[1:])
    story = tell(rng, wanted)
    roll = rng.random()
    if roll < 0.07:
        cut = rng.randint(1, 3)
        ask = rng.choice(("Continue: ", "Continue this story: ", "Go on: ", "What happens next? ")) + " ".join(story.sentences[:cut])
        turns = [(ask, " ".join(story.sentences[cut:]))]
    elif roll < 0.12:
        turns = [(sloppy(rng, expand(rng, MORE, {}) + rng.choice((".", "", "!"))), story.text)]
    else:
        turns = [(sloppy(rng, story_ask(rng, story, wanted.plot)), story.text)]
    if rng.random() < 0.6:
        asked = story.questions[: rng.randint(1, 3)]
        turns += [(sloppy(rng, ask) if rng.random() < 0.5 else ask, answer) for ask, answer in asked]
    return turns


def question_turn(rng: random.Random) -> Turn:
    """One question that needs nothing said before."""
    ask, answer = facts.question(rng)
    return (ask if rng.random() < 0.5 else sloppy(rng, ask)), answer


def remembered(rng: random.Random) -> list[Turn]:
    """Somebody says their name and asks for it later."""
    ask, answer = facts.introduced(rng)
    between = [question_turn(rng) for _ in range(rng.randint(0, 2))]
    name = ask.rstrip(".!").split()[-1]
    return [(ask, answer), *between, (expand(rng, "{What is my name|Do you know my name|Who am I|Do you remember my name}?", {}), expand(rng, f"Your name is {name}.", {}))]


def conversation(rng: random.Random) -> tuple[str, list[Turn]]:
    """A system text, often empty, and the turns that follow."""
    system = rng.choice(SYSTEMS) if rng.random() < 0.2 else ""
    turns: list[Turn] = []
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        roll = rng.random()
        if roll < 0.35:
            turns += story_turns(rng)
        else:
            turns += [question_turn(rng) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.06:
        turns += remembered(rng)
    return system, turns


def render(system: str, turns: list[Turn]) -> str:
    """A conversation as the chat template writes it."""
    head = f"<|system|>\n{system}<|end|>\n" if system else ""
    return head + "".join(f"<|user|>\n{ask}<|end|>\n<|assistant|>\n{answer}<|end|>\n" for ask, answer in turns)


if __name__ == "__main__":
    generator = random.Random(3)
    for _ in range(12):
        print(render(*conversation(generator)))
