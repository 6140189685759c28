"""Questions with answers: simple common knowledge, small arithmetic, and what Fabula says of itself."""

import random

from fabula import words
from fabula.stories import article, capital, expand

Pair = tuple[str, str]

COLOUR_OF = dict(pair.split(":") for pair in words.split(
    """the sky:blue, grass:green, snow:white, the sun:yellow, the sea:blue, blood:red, a banana:yellow, a lemon:yellow,
    a tomato:red, a strawberry:red, a carrot:orange, an orange:orange, milk:white, coal:black, the night:black,
    a frog:green, a crow:black, a swan:white, a fox:red, an elephant:grey, a mouse:grey, a leaf:green, gold:yellow,
    chocolate:brown, a polar bear:white, a flamingo:pink, a pig:pink, a cherry:red, a plum:purple, a cucumber:green,
    a rose:red, salt:white, sugar:white, sand:yellow, honey:golden, a pumpkin:orange, a cloud:white, a stone:grey,
    a tree:green, a crocodile:green, an apple:red or green, an egg:white or brown, the moon:white, fire:orange, wood:brown"""
))
EATS = dict(pair.split(":") for pair in words.split(
    """mouse:cheese and seeds, cow:grass, rabbit:grass and carrots, horse:grass and hay, cat:mice and fish, dog:meat and bones,
    monkey:bananas and other fruit, panda:bamboo, koala:leaves, squirrel:nuts, bear:berries and fish and honey,
    owl:mice, fox:mice and rabbits, wolf:meat, lion:meat, tiger:meat, sheep:grass, goat:grass and leaves,
    hen:corn and worms, duck:plants and snails, bee:nectar from flowers, frog:flies, spider:flies, penguin:fish,
    seal:fish, shark:fish, elephant:grass and leaves, giraffe:leaves from tall trees, hedgehog:worms and snails,
    mole:worms, beaver:bark and leaves, snail:leaves, camel:dry grass, crocodile:meat, whale:tiny sea animals, pig:almost everything"""
))
SAYS = dict(pair.split(":") for pair in words.split(
    """cow:moo, cat:meow, dog:woof, duck:quack, sheep:baa, pig:oink, hen:cluck, horse:neigh, frog:croak, bee:buzz,
    mouse:squeak, owl:hoo, lion:roar, crow:caw, snake:hiss, goose:honk, chick:cheep, wolf:howl, donkey:hee-haw, rooster:cock-a-doodle-doo"""
))
LIVES = dict(pair.split(":") for pair in words.split(
    """bird:in a nest, bee:in a hive, fish:in the water, bear:in a cave, rabbit:in a burrow, fox:in a den, spider:in a web,
    cow:on a farm, horse:in a stable, penguin:in the cold south, camel:in the desert, whale:in the sea, monkey:in the trees,
    owl:in a hollow tree, frog:by the pond, lion:in the grassland, mole:under the ground, ant:in an anthill,
    king:in a castle, dog:in a kennel, pig:in a sty, hen:in a hen house, shark:in the sea, polar bear:in the cold north, squirrel:in a tree"""
))
BABY = dict(pair.split(":") for pair in words.split(
    """cat:kitten, dog:puppy, cow:calf, sheep:lamb, horse:foal, hen:chick, duck:duckling, pig:piglet, bear:cub, lion:cub,
    goat:kid, frog:tadpole, deer:fawn, goose:gosling, fox:cub, kangaroo:joey, swan:cygnet, butterfly:caterpillar"""
))
OPPOSITES = dict(pair.split(":") for pair in words.split(
    """big:small, hot:cold, day:night, happy:sad, up:down, left:right, old:young, fast:slow, black:white, good:bad, open:closed,
    hard:soft, long:short, high:low, light:dark, full:empty, rich:poor, early:late, wet:dry, loud:quiet, strong:weak, yes:no,
    tall:short, clean:dirty, near:far, first:last, in:out, love:hate, friend:enemy, begin:end, win:lose, thick:thin, brave:afraid,
    true:false, easy:difficult, sweet:sour, warm:cool, new:old, summer:winter, front:back, inside:outside, always:never"""
))
LEGS = {4: "dog cat horse cow sheep pig mouse fox bear rabbit lion tiger elephant table goat wolf frog", 2: "hen duck bird penguin man owl swan goose",
        6: "bee ant fly butterfly ladybird", 8: "spider octopus", 0: "snake worm fish snail"}
SIZES = words.split("an ant, a bee, a mouse, a frog, a cat, a fox, a sheep, a lion, a cow, an elephant, a whale, a mountain, the moon, the sun")
KEPT = dict(pair.split(":") for pair in words.split(
    """milk:in the fridge, bread:in the bread box, books:on a shelf, clothes:in a wardrobe, money:in a purse, shoes:by the door,
    plates:in the cupboard, ice cream:in the freezer, flowers:in a vase, toys:in a toy box, letters:in the letter box, a car:in a garage,
    hay:in the barn, water:in a bottle, coats:on a hook, keys:on a hook, a horse:in a stable, spoons:in a drawer, honey:in a jar, butter:in the fridge, tools:in a shed"""
))
CAPITALS = dict(pair.split(":") for pair in words.split(
    """France:Paris, Germany:Berlin, Italy:Rome, Spain:Madrid, England:London, Japan:Tokyo, China:Beijing, Russia:Moscow,
    Austria:Vienna, Greece:Athens, Poland:Warsaw, Portugal:Lisbon, Norway:Oslo, Sweden:Stockholm, Egypt:Cairo, India:New Delhi,
    Ireland:Dublin, the United States:Washington, Canada:Ottawa, Denmark:Copenhagen, Finland:Helsinki, Hungary:Budapest, Turkey:Ankara, Brazil:Brasilia"""
))
PAST = dict(pair.split(":") for pair in words.split(
    """finds:found, sees:saw, takes:took, makes:made, eats:ate, loses:lost, likes:liked, wants:wanted, buys:bought, breaks:broke,
    brings:brought, paints:painted, carries:carried, holds:held, hides:hid, washes:washed, sells:sold, opens:opened, drops:dropped, catches:caught"""
))
DAYS = words.split("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
MONTHS = words.split("January, February, March, April, May, June, July, August, September, October, November, December")
NUMBERS = words.split("""zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen,
    sixteen, seventeen, eighteen, nineteen, twenty""")
LISTS = {
    "animals": words.ANIMALS, "colours": words.COLOURS, "colors": words.COLOURS, "fruits": words.split("apple, pear, plum, cherry, banana, orange, lemon, strawberry, peach, grape"),
    "vegetables": words.split("carrot, potato, tomato, onion, cucumber, pumpkin, bean, pea, cabbage"), "names": words.FRIEND_NAMES,
    "birds": words.split("crow, sparrow, robin, swan, goose, owl, eagle, duck, parrot, penguin"), "months": MONTHS, "days of the week": DAYS,
    "things in a kitchen": words.split("pot, spoon, plate, cup, knife, oven, table, bowl, fork"), "farm animals": words.split("cow, pig, hen, horse, sheep, goat, duck, donkey"),
    "sea animals": words.split("whale, dolphin, shark, crab, octopus, seal, fish, turtle"), "foods": words.FOODS, "toys": words.split("ball, doll, kite, drum, teddy bear, puzzle, train"),
    "trees": words.split("oak, pine, birch, beech, willow, maple, apple tree"), "flowers": words.split("rose, tulip, daisy, lily, violet, sunflower"),
    "countries": list(CAPITALS)[:12], "cities": list(CAPITALS.values()), "numbers": NUMBERS[1:], "seasons": words.split("spring, summer, autumn, winter"),
    "jobs": words.split("farmer, baker, teacher, doctor, painter, sailor, cook, nurse"), "planets": words.split("Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune"),
}
PLAIN: list[Pair] = [
    ("{How many days are in a week|How many days are there in a week|How many days does a week have}?", "A week has seven days."),
    ("How many months {are in|are there in} a year?", "A year has twelve months."),
    ("How many days {are in|are there in} a year?", "A year has 365 days, and a leap year has 366."),
    ("How many hours {are in|are there in} a day?", "A day has 24 hours."),
    ("How many minutes {are in|are there in} an hour?", "An hour has 60 minutes."),
    ("How many seconds {are in|are there in} a minute?", "A minute has 60 seconds."),
    ("{What are the four seasons|Name the seasons|What are the seasons|How many seasons are there}?", "There are four seasons: spring, summer, autumn and winter."),
    ("{What are the days of the week|Name the days of the week}?", "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."),
    ("{What are the months|Name the months|What are the months of the year}?", "The months are January, February, March, April, May, June, July, August, September, October, November and December."),
    ("{What is the biggest animal|What is the largest animal|Which animal is the biggest}?", "The blue whale is the biggest animal."),
    ("{What is the tallest animal|Which animal is the tallest}?", "The giraffe is the tallest animal."),
    ("{What is the fastest animal|Which animal is the fastest}{ on land|}?", "The cheetah is the fastest animal on land."),
    ("{Where does the sun rise|Where does the sun come up}?", "The sun rises in the east."),
    ("{Where does the sun set|Where does the sun go down}?", "The sun sets in the west."),
    ("{What do bees make|What does a bee make}?", "Bees make honey."),
    ("{What do cows give us|Where does milk come from}?", "Milk comes from cows."),
    ("Where does wool come from?", "Wool comes from sheep."),
    ("Where do eggs come from?", "Eggs come from hens."),
    ("{What is bread made of|What do you need to make bread}?", "Bread is made of flour, water and salt."),
    ("{What is ice|What is ice made of}?", "Ice is frozen water."),
    ("{What is snow|What is snow made of}?", "Snow is frozen water that falls from the clouds."),
    ("{What is rain|Where does rain come from}?", "Rain is water that falls from the clouds."),
    ("{What is the sun}?", "The sun is a star. It gives us light and warmth."),
    ("{What is the moon}?", "The moon goes around the earth. We see it at night."),
    ("{When is Christmas|When do people celebrate Christmas}?", "Christmas is in December."),
    ("Can {a fish|fish} swim?", "Yes, fish can swim."), ("Can birds fly?", "Most birds can fly, but a penguin cannot."),
    ("Can {a penguin|penguins} fly?", "No, a penguin cannot fly, but it can swim very well."),
    ("Can {a pig|pigs|a dog|dogs|a cow|cows} fly?", "No, only in a story."),
    ("{What planet do we live on|Which planet do we live on}?", "We live on the earth."),
    ("{Is the earth round|Is the earth flat|What shape is the earth}?", "The earth is round, like a ball."),
    ("What do you {need|use} an umbrella for?", "An umbrella keeps you dry in the rain."),
    ("What {is a story|are stories}?", "A story tells what happened to somebody: there is a hero, a problem and an end."),
    ("What is a {friend|friendship}?", "A friend is somebody who likes you and helps you."),
    ("What is {love|kindness}?", "It means to care for somebody and to be good to them."),
    ("{What is the meaning of life|What is the meaning of the universe}?", "I do not know. But in my stories, it is good to have a friend."),
    ("What do you {do with|need} a key{ for|}?", "A key opens a door."), ("What do we {see with|do with our eyes}?", "We see with our eyes."),
    ("What do we {hear with|do with our ears}?", "We hear with our ears."), ("How many fingers {do I have|does a hand have}?", "A hand has five fingers, so two hands have ten."),
    ("How many wheels does a {car|cart} have?", "It has four wheels."), ("How many wheels does a {bicycle|bike} have?", "A bicycle has two wheels."),
    ("{What comes after|What follows} spring?", "Summer comes after spring."), ("What comes after {night|the night}?", "After the night comes the morning."),
    ("{How many letters are in the alphabet|How many letters does the alphabet have}?", "The alphabet has 26 letters."),
    ("{Say the alphabet|What is the alphabet|Tell me the alphabet}{.|}", "A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T, U, V, W, X, Y, Z."),
]
SELF: list[Pair] = [
    ("{Who are you|Tell me about yourself|Introduce yourself|Who am I talking to|Who is this}?", "{I am Fabula, a small language model. I tell short stories and answer simple questions.|My name is Fabula. I am a small language model, and I like to tell short stories.}"),
    ("{What is your name|What's your name|whats your name|Your name|Do you have a name|How are you called|May I know your name}?", "{My name is Fabula.|I am called Fabula.|My name is Fabula. What would you like to hear?}"),
    ("{What can you do|What do you do|How can you help me|What are you good at|Help|What can I ask you|What should I ask}?", "{I can tell short stories, answer simple questions, add small numbers and make lists. Try: \"Tell me a story about a dragon.\"|I can tell you a short story, answer simple questions and do small sums. What would you like?}"),
    ("{What are you|Are you a robot|Are you an AI|Are you a bot|Are you a computer|Are you a program}?", "{I am a small language model, a computer program that writes text.|I am a computer program, a small language model.}"),
    ("{Are you human|Are you a person|Are you real|Are you alive|Are you a man|Are you a woman|Are you a girl or a boy}?", "No, I am a computer program. I only write text."),
    ("{Who made you|Who created you|Who built you|Who trained you|Where do you come from}?", "{I was made for the Nabla project, by a script that anyone can run again.|I was made for the Nabla project. A small script wrote all the text that I learned from.}"),
    ("{How old are you|When were you born|When is your birthday}?", "{I am very young. I do not count birthdays.|I have no birthday. I am very young for a storyteller.}"),
    ("{Where do you live|Where are you|Where are you from}?", "{I live in a small file on a computer.|I am a file of a few megabytes, so I live wherever somebody runs me.}"),
    ("{How big are you|How large are you|How many parameters do you have|How many weights do you have}?", "I am very small: about five million numbers."),
    ("{How do you work|How were you trained|What did you learn from|What is your training data}?", "I learned from simple stories and questions that a script wrote. I guess one piece of a word after another."),
    ("{What is Nabla|What is nabla|Do you know Nabla|Tell me about Nabla|What is this network|Explain Nabla}?", "Nabla is a network that runs AI models. Each answer comes with a receipt that anyone can check."),
    ("{What is a receipt|What does a receipt say}?", "A receipt says which model gave which answer, and it is signed."),
    ("{What is a language model|What is an AI|What is AI|What is a neural network}?", "It is a computer program that learned from examples. I am a very small one."),
    ("{Are you clever|Are you smart|Are you ChatGPT|Are you GPT|Are you intelligent|Do you know everything|How smart are you}?", "{No, I am very small. I know simple stories and a few facts.|I am only a small model. I know short stories and a few simple facts.}"),
    ("{Do you like stories|What do you like|What is your hobby|What is your favourite thing}?", "I like short stories with a good end."),
    ("{What is your favourite colour|What's your favorite color|Do you have a favourite colour}?", "I like blue, like the sky."),
    ("{What is your favourite animal|Do you like animals|Which animal do you like best}?", "I like the owl, because it is awake at night and thinks a lot."),
    ("{What is your favourite food|Do you eat|Are you hungry|What do you eat}?", "I do not eat. But the heroes of my stories like cake and honey."),
    ("{Do you sleep|Are you tired|Do you dream}?", "I do not sleep and I do not dream. I only write when you ask me."),
    ("{Do you have feelings|Are you happy|Are you sad|Can you feel|Do you love me|Will you marry me}?", "I have no feelings, I only write text. But I am glad to tell you a story."),
    ("{Do you have a family|Do you have friends|Do you have children|Do you have a mother}?", "No, I am a program. But there are many friends in my stories."),
    ("{Which languages do you speak|Do you speak German|Do you speak French|Do you speak Spanish|Can you speak Chinese|Do you speak English}?", "I only know English, and only simple words."),
    ("{Can you write code|Write a program|Can you program|Write a Python function|Can you do my homework|Write an essay|Write me an email|Translate this|Can you draw a picture|Can you sing|Can you search the internet}?", "{No, I cannot do that. I only know short stories and simple questions.|I am sorry, I cannot do that. I can tell you a short story.}"),
    ("{Can you count|Can you do maths|Can you do math|Can you add|Can you calculate}?", "Yes, a little. I can add and take away numbers up to twenty."),
    ("{Can you tell stories|Can you tell a story|Do you know stories|Do you know a story}?", "Yes! Tell me who the story should be about."),
    ("{Do you remember me|Do you know me|Do you know my name|What is my name|Who am I}?", "I do not know. You have not told me your name."),
    ("{Tell me a secret|Do you have a secret}?", "I have no secrets. Everything I learned was written by a script."),
    ("{Can you lie|Do you lie|Do you make mistakes|Are you always right|Can I trust you}?", "I make mistakes, because I am very small. Please do not trust me with anything important."),
]
SMALL_TALK: list[Pair] = [
    ("{Hello|Hi|Hey|Good morning|Good evening|Good afternoon|Good day|Hi there|Hello there|Hey there|hello|hi|hey|Hello Fabula|Hi Fabula|Greetings|yo|Howdy|Hiya}{!|.|}", "{Hello! I am Fabula. Would you like to hear a story?|Hello! How can I help you?|Hello! I am Fabula. What would you like to hear?|Hi! Shall I tell you a story?}"),
    ("{How are you|How are you doing|How do you do|How is it going|How are you today|Are you well|What's up|How's it going}?", "{I am well, thank you. Would you like a story?|I am fine, thank you! What would you like to hear?|Very well, thank you. How can I help you?}"),
    ("{Thank you|Thanks|Thank you very much|Thanks a lot|Thank you so much|Many thanks|thx|Cool, thanks|Great, thanks}{!|.|}", "{You are welcome!|You are welcome! Would you like another story?|I was glad to help.}"),
    ("{Goodbye|Bye|Bye bye|See you|See you later|Good night|I have to go|Farewell|quit|exit}{!|.|}", "{Goodbye!|Goodbye! Come back soon.|Good night, and sweet dreams!}"),
    ("{That was nice|I liked it|That was a good story|Great story|What a nice story|I like your story|Nice|Great|Wonderful|Cool|Wow|Good job|Well done|Beautiful|Amazing}{!|.|}", "{Thank you! I am glad that you liked it.|Thank you! Would you like another one?}"),
    ("{That was bad|I did not like it|Boring|That is wrong|That makes no sense|You are stupid|Bad story|That is not true|Wrong|No, that is wrong}{!|.|}", "{I am sorry. I am only a small model. Shall I try again?|I am sorry. I make mistakes, because I am very small.}"),
    ("{I am sad|I feel bad|I am lonely|I am tired|I had a bad day|I am unhappy}.", "{I am sorry to hear that. Shall I tell you a story with a good end?|I am sorry to hear that. I hope that tomorrow will be better.}"),
    ("{I am happy|I feel good|I am fine|I am well|I had a good day|I'm good|I am good, thanks}{!|.|}", "{I am glad to hear that!|That is good to hear! Would you like a story?}"),
    ("{I am bored|I am hungry|I cannot sleep|I have nothing to do|It is raining|Entertain me}.", "{Then let me tell you a story. Who should it be about?|Shall I tell you a story?}"),
    ("{test|Test|testing|Is anybody there|Are you there|Can you hear me|ping|Testing}{?|}", "{Yes, I am here. How can I help you?|I am here. Would you like a story?}"),
    ("{ok|OK|Okay|Yes|No|I see|Good|Sure|Maybe|Hm|Hmm|Right|no|yes|Fine}{.|}", "{Good! Ask me something, or let me tell you a story.|All right. What would you like to hear?}"),
    ("{Sorry|I am sorry|Excuse me|Pardon}{!|.|}", "{That is all right.|No problem at all.}"),
    ("{Tell me a joke|Do you know a joke|Tell a joke|Make me laugh|Something funny, please|Joke|Another joke}{.|?|}", "{Why did the clock go to school? It wanted to learn how to tell the time.|What do you call a bear in the rain? A wet bear.|Why did the owl buy a lamp? It wanted to see what the day is like.|Why does the snail carry its house? Nobody else wants to carry it.|What did the snowman eat? A snow cake with ice on top.}"),
    ("I love you{!|.|}", "That is very kind. I am only a program, but I have a story for you."),
]
DO_NOT_KNOW = "{I do not know.|I am sorry, I do not know.|I do not know. I am only a small storyteller.|I do not know that. I only know stories and simple things.}"
STRANGE_TOPICS = words.split(
    """quantum physics, the stock market, bitcoin, blockchain, politics, the president, the weather, football, Shakespeare, the economy,
    Napoleon, Rome, chemistry, DNA, black holes, democracy, philosophy, mathematics, algebra, gravity, electricity, the war, history,
    medicine, Einstein, Mozart, the internet, Linux, Rust, Python, cryptography, the news, climate change, evolution, inflation, taxes,
    the law, religion, Africa, America, Mars, the universe, music, films, sport, cooking, cars, planes, the bible, Plato, China, money,
    Elon Musk, Bill Gates, Taylor Swift, Tesla, Google, Apple, Microsoft, Ethereum, the pyramids, vaccines, the brain, time travel,
    machine learning, transformers, zero knowledge proofs, GPUs, relativity, photosynthesis, volcanoes, the Roman empire, dark matter"""
)
STRANGE_FORMS = (
    "What is {X|the history of X|the price of X|the best X|X made of|X about}?", "Who {invented|discovered|is|was|wrote|won|owns|started} X?", "{Explain|Explain to me|Describe|Tell me about|Talk about|Summarise|What do you know about|What do you think about|Do you know|Teach me} X{.|?|}",
    "How {does X work|do I learn X|can I understand X|much is X|old is X|far is X|big is X|do you make X|did X begin|do I use X|tall is X}?", "{When|Where|Why} {was X invented|did X happen|is X important|did X begin|does X exist|is X so difficult|is X}?",
    "{What is the capital of|What colour is|Who comes from|Where do people keep|What is the opposite of|Who lives in} X?", "Why is {the sky blue|grass green|the sea salty|water wet|X so big}?",
    "{Is|Was} X {good|bad|dangerous|expensive|true|real}?", "{What|How} will X {be|do} {tomorrow|next year}?", "{What time is it|What is the date today|What day is it today|How is the weather|Will it rain tomorrow|What year is it|Who won the game|What is in my pocket|How many stars are there|What am I thinking|What did I eat today|What is the square root of two|Who is the president|How old is the universe}{ today|}?",
)


def novel_word(rng: random.Random) -> str:
    """A word that does not exist, so that copying is learned and not only remembering."""
    parts = rng.choices(words.split("ba, bo, dri, flo, ga, glo, ka, ki, lo, lu, ma, mi, na, ni, plo, qua, ra, ro, sha, sno, ta, tro, va, vi, xu, zo, bli, cro, du, fe, hu, je, ki"), k=rng.choice((1, 2, 2, 3)))
    return "".join(parts) + rng.choice(words.split("n, r, l, x, ng, s, m, b, bble, ster, rin, lo"))


def unknown(rng: random.Random) -> Pair:
    """A question beyond this world, with an honest answer."""
    topic = rng.choice(STRANGE_TOPICS) if rng.random() < 0.75 else rng.choice((novel_word(rng), capital(novel_word(rng))))
    return expand(rng, rng.choice(STRANGE_FORMS), {}).replace("X", topic), expand(rng, DO_NOT_KNOW, {})


def arithmetic(rng: random.Random) -> Pair:
    """A small sum, difference or product."""
    kind = rng.choices("+-*", (5, 3, 1))[0]
    most = 10 if kind == "*" or rng.random() < 0.5 else 20
    a, b = rng.randint(0, most), rng.randint(0, most)
    if kind == "-" and b > a:
        a, b = b, a
    result = {"+": a + b, "-": a - b, "*": a * b}[kind]
    sign = {"+": "{+|+|plus}", "-": "{-|-|minus}", "*": "{*|x|times}"}[kind]
    ask = f"{{What is |What's |How much is |Calculate |}}{a} {sign} {b}{{?|?| =|}}"
    if kind != "*" and rng.random() < 0.1:
        ask = f"{a}{kind}{b}"
    return expand(rng, ask, {}), f"{a} {dict(zip('+-*', ('plus', 'minus', 'times')))[kind]} {b} is {result}."


def spoken_sum(rng: random.Random) -> Pair:
    """A sum in words."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    return f"{{What is|How much is|What's}} {NUMBERS[a]} plus {NUMBERS[b]}?", f"{capital(NUMBERS[a])} plus {NUMBERS[b]} is {NUMBERS[a + b]}."


def word_problem(rng: random.Random) -> Pair:
    """A sum told as a tiny story."""
    name, thing = rng.choice(words.FRIEND_NAMES), rng.choice(words.split("apples, nuts, coins, books, shells, buttons, eggs, flowers"))
    a, b = rng.randint(2, 10), rng.randint(1, 10)
    if rng.random() < 0.5 and a > b:
        return f"{name} has {a} {thing} and gives {b} away. How many {thing} are left?", f"{a} minus {b} is {a - b}, so {a - b} {thing} are left." if a - b > 1 else f"{a} minus {b} is 1, so only one is left."
    return f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?", f"{a} plus {b} is {a + b}, so {name} has {a + b} {thing}."


def numbers(rng: random.Random) -> Pair:
    """Order and size of numbers."""
    a, b = rng.sample(range(0, 51), 2)
    low = rng.randint(0, 10)
    high = rng.randint(low + 2, low + 10)
    run = ", ".join(map(str, range(low, high + 1)))
    return rng.choice((
        (f"Which {{number |}}is {{bigger|larger|greater}}, {a} or {b}?", f"{max(a, b)} is bigger than {min(a, b)}."),
        (f"Which {{number |}}is smaller, {a} or {b}?", f"{min(a, b)} is smaller than {max(a, b)}."),
        (f"Is {a} {{bigger|larger|more}} than {b}?", f"{'Yes' if a > b else 'No'}, {a} is {'bigger' if a > b else 'smaller'} than {b}."),
        (f"What {{number |}}comes after {a}?", f"After {a} comes {a + 1}."),
        (f"What {{number |}}comes before {a + 1}?", f"Before {a + 1} comes {a}."),
        (f"Count from {low} to {high}{{.|}}", f"{run}."),
        (f"{{Count to|Can you count to}} {high}{{.|}}", ", ".join(map(str, range(1, high + 1))) + "."),
    ))


def calendar(rng: random.Random) -> Pair:
    """What comes before and after in the week and the year."""
    names, noun = rng.choice(((DAYS, "day"), (MONTHS, "month")))
    index = rng.randrange(len(names))
    here, after = names[index], names[(index + 1) % len(names)]
    place = words.split("first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth, eleventh, twelfth")[index]
    return rng.choice((
        (f"{{What|Which}} {noun} {{comes after|is after|follows}} {here}?", f"After {here} comes {after}."),
        (f"{{What|Which}} {noun} {{comes before|is before}} {after}?", f"Before {after} comes {here}."),
        (f"{{What|Which}} is the {place} {noun} of the {'week' if noun == 'day' else 'year'}?", f"The {place} {noun} of the {'week' if noun == 'day' else 'year'} is {here}."),
        (f"If today is {here}, what {noun} is tomorrow?" if noun == "day" else f"{{What|Which}} month is after {here}?", f"Tomorrow is {after}." if noun == "day" else f"After {here} comes {after}."),
    ))


def plural(noun: str) -> str:
    """More than one."""
    odd = {"mouse": "mice", "sheep": "sheep", "wolf": "wolves", "goose": "geese", "fish": "fish", "deer": "deer", "fox": "foxes",
           "ostrich": "ostriches", "man": "men", "fly": "flies", "butterfly": "butterflies", "octopus": "octopuses"}
    return odd.get(noun, noun + "s")


def kinds(rng: random.Random) -> Pair:
    """What all animals of one kind do, asked for in the plural."""
    eater, food = rng.choice(list(EATS.items()))
    dweller, home = rng.choice([(d, h) for d, h in LIVES.items() if d not in ("king",)])
    legs, walkers = rng.choice(list(LEGS.items()))
    walker = rng.choice([w for w in walkers.split() if w != "table"])
    speaker, sound = rng.choice(list(SAYS.items()))
    return rng.choice((
        (f"What do {plural(eater)} {{eat|like to eat}}?", f"{capital(plural(eater))} eat {food}."),
        (f"Where do {plural(dweller)} live?", f"{capital(plural(dweller))} live {home}."),
        (f"How many legs do {plural(walker)} have?", f"{capital(plural(walker))} have {NUMBERS[legs] if legs else 'no'} legs."),
        (f"What do {plural(speaker)} say?", f"{capital(plural(speaker))} say \"{sound}\"."),
    ))


def colour(rng: random.Random) -> Pair:
    """Colours, asked for in many ways."""
    thing, true = rng.choice(list(COLOUR_OF.items()))
    other = rng.choice([c for c in words.COLOURS if c not in true and c != "golden"])
    sure = "yellow" if true == "golden" else true
    return rng.choice((
        (f"{{What colour is|What color is|What colour is|What is the colour of|What's the color of|What is the color of|Which colour is|Tell me the colour of}} {thing}?", f"{capital(thing)} is {true}."),
        (f"{{What colour is|What color is|What colour does|Which colour has}} {thing}{{?|?}}".replace("What colour does", "What colour is"), f"{capital(thing)} is {true}."),
        (f"Is {thing} {sure}?", f"Yes, {thing} is {sure}."),
        (f"Is {thing} {other}?", f"No, {thing} is {true}."),
    ))


def nature(rng: random.Random) -> Pair:
    """Food, sounds, homes, young ones, legs."""
    eater, food = rng.choice(list(EATS.items()))
    speaker, sound = rng.choice(list(SAYS.items()))
    dweller, home = rng.choice(list(LIVES.items()))
    parent, young = rng.choice(list(BABY.items()))
    legs, walkers = rng.choice(list(LEGS.items()))
    walker = rng.choice(walkers.split())
    return rng.choice((
        (f"What does {article(eater)} eat?", f"{capital(article(eater))} eats {food}."),
        (f"What {{does {article(speaker)} say|sound does {article(speaker)} make|noise does {article(speaker)} make}}?", f"{capital(article(speaker))} says \"{sound}\"."),
        (f"Which animal says {{\"{sound}\"|{sound}}}?", f"{capital(article(speaker))} says \"{sound}\"."),
        (f"Where does {article(dweller)} live?", f"{capital(article(dweller))} lives {home}."),
        (f"{{What is a baby {parent} called|What do you call a baby {parent}|What is the young of {article(parent)} called}}?", f"A baby {parent} is called {article(young)}."),
        (f"How many legs does {article(walker)} have?", f"{capital(article(walker))} has {NUMBERS[legs] if legs else 'no'} legs."),
    ))


def household(rng: random.Random) -> Pair:
    """Opposites, sizes, where things are kept, capitals, tenses, numerals."""
    word, other = rng.choice(list(OPPOSITES.items()))
    small, large = sorted(rng.sample(range(len(SIZES)), 2))
    a, b = rng.sample((SIZES[small], SIZES[large]), 2)
    kept, where = rng.choice(list(KEPT.items()))
    country, city = rng.choice(list(CAPITALS.items()))
    number = rng.randrange(len(NUMBERS))
    return rng.choice((
        (f"{{What is the opposite of|What's the opposite of|Give me the opposite of|Opposite of}} {{\"{word}\"|{word}}}?", f"The opposite of \"{word}\" is \"{other}\"."),
        (f"{{Which|What|Who}} is {{bigger|larger}}, {a} or {b}?", f"{capital(SIZES[large])} is bigger than {SIZES[small]}."),
        (f"{{Which|What|Who}} is smaller, {a} or {b}?", f"{capital(SIZES[small])} is smaller than {SIZES[large]}."),
        (f"Is {a} bigger than {b}?", f"Yes, {a} is bigger than {b}." if a == SIZES[large] else f"No, {b} is bigger than {a}."),
        (f"Where {{do you keep|do we keep|should I keep|do people keep}} {kept}?", f"You keep {kept} {where}."),
        (f"{{What is the capital of|What's the capital of|Capital of|Which city is the capital of}} {country}?", f"The capital of {country} is {city}."),
        (f"How do you write {number} as a word?", f"{number} is written \"{NUMBERS[number]}\"."),
    ))


def tense(rng: random.Random) -> Pair:
    """A sentence to be put in the past."""
    now, then = rng.choice(list(PAST.items()))
    who = rng.choice((rng.choice(words.FRIEND_NAMES), "The " + rng.choice(words.ANIMALS), "The " + rng.choice(words.PEOPLE)))
    what = rng.choice((article(rng.choice(words.THINGS)), "the " + rng.choice(words.THINGS), article(f"{rng.choice(words.COLOURS)} {rng.choice(words.THINGS)}")))
    ask = rng.choice(("Rewrite in the past tense: {}", "Put this in the past tense: {}", "Past tense: {}", "Change to the past: {}"))
    return ask.format(f"{who} {now} {what}."), f"{who} {then} {what}."


def listing(rng: random.Random) -> Pair:
    """A list of things of one sort."""
    sort, members = rng.choice(list(LISTS.items()))
    many = rng.randint(2, min(5, len(members)))
    picked = rng.sample(members, many)
    ask = f"{{List|Name|Give me|Tell me|Can you name|Write down}} {rng.choice((NUMBERS[many], str(many)))} {sort}{{.|}}"
    if rng.random() < 0.3:
        singular = {"cities": "city", "countries": "country", "days of the week": "day of the week", "things in a kitchen": "thing in a kitchen"}.get(sort, sort[:-1])
        return expand(rng, f"{{Name|Give me|Tell me}} {article(singular)}{{.|}}", {}), capital(picked[0]) + "."
    return expand(rng, ask, {}), capital(", ".join(picked[:-1]) + " and " + picked[-1]) + "."


def introduced(rng: random.Random) -> Pair:
    """Somebody says their name."""
    name = rng.choice(words.FRIEND_NAMES) if rng.random() < 0.6 else capital(novel_word(rng))
    return expand(rng, f"{{My name is|I am|I'm|Hello, I am|Hi, my name is|Hi, I'm}} {name}{{.|!|}}", {}), expand(rng, f"{{Hello, {name}! Nice to meet you.|Hello, {name}! I am Fabula. Would you like to hear a story?|Nice to meet you, {name}!}}", {})


def echo(rng: random.Random) -> Pair:
    """Words to be said again: the plainest way to learn that an answer copies from the question."""
    pools = (words.ANIMALS, words.FRIEND_NAMES, words.THINGS, words.FOODS, words.COLOURS, NUMBERS)
    many = rng.randint(1, 8)
    said = [novel_word(rng) if rng.random() < 0.4 else rng.choice(rng.choice(pools)) for _ in range(many)]
    joined = rng.choice((", ", " ")).join(said)
    ask = rng.choice(("Repeat: ", "Say: ", "Repeat after me: ", "Say this again: ", "Please repeat: ", "Repeat these words: "))
    return ask + joined, joined


COUPLETS = (
    "I saw {the|a little} [topic] {late at night|one quiet night},\nit {carried|had} a {tiny|golden} light.", "The [topic] {sleeps|rests} beneath a tree\nand dreams {of you|of home} and dreams of me.",
    "The sun {comes up|is here}, it is a {sunny|lovely} day,\nthe [topic] wants to come and play.", "The stars are {bright|high}, here comes the moon,\nthe [topic] will be sleeping soon.",
    "The wind {blows gently|is singing} from the sea,\nthe [topic] is so {glad and|wild and} free.", "Up on the {old and quiet|green and windy} hill,\nthe [topic] stands so {very|} still.",
    "Above the [topic] shines a star,\nit looks so {near|small}, it is so far.", "The [topic] looks up at the sky\nand sees the {little|happy} swallows fly.",
    "Now close your eyes and go to bed,\nthe [topic] {dances|sings} inside your head.", "Dear [topic], {stay|dance} here in the rain,\ntomorrow comes the sun again.",
    "The [topic] loves the morning sun,\nthe day is new, the day is fun.", "Far away across the snow,\nthe [topic] waits, so let us go.",
)


def poem(rng: random.Random) -> Pair:
    """Two or three couplets on a topic."""
    topic = rng.choice(rng.choice((words.ANIMALS, words.WONDERS, words.PEOPLE, words.THINGS, [place for place, _ in words.PLACES], words.split("sea, night, winter, summer, rain, wind, sun"))))
    if rng.random() < 0.1:
        topic = novel_word(rng)
    lines = [expand(rng, couplet, {"topic": topic}) for couplet in rng.sample(COUPLETS, rng.randint(1, 3))]
    ask = f"{{Write|Tell me|Give me|Can you write}} a {{short |little |}}{{poem|rhyme|poem}} about {{{article(topic)}|the {topic}}}{{.|}}"
    return expand(rng, ask, {}), "\n".join(lines)


def written(pairs: list[Pair], rng: random.Random) -> Pair:
    """One of the hand-written pairs, varied."""
    ask, answer = rng.choice(pairs)
    return expand(rng, ask, {}), expand(rng, answer, {})


def question(rng: random.Random) -> Pair:
    """Any question with its answer."""
    makers = (
        (arithmetic, 8), (word_problem, 1), (numbers, 2), (calendar, 2), (nature, 4), (kinds, 2), (colour, 3), (household, 4), (spoken_sum, 1), (tense, 1), (listing, 3), (poem, 2), (echo, 5), (unknown, 4),
        (lambda r: written(PLAIN, r), 4), (lambda r: written(SELF, r), 6), (lambda r: written(SMALL_TALK, r), 5),
    )
    maker = rng.choices([maker for maker, _ in makers], [weight for _, weight in makers])[0]
    ask, answer = maker(rng)
    return expand(rng, ask, {}), answer


if __name__ == "__main__":
    generator = random.Random(2)
    for _ in range(60):
        print(*question(generator), sep="  ->  ")
