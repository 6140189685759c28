"""The words of Fabula's world: who lives in it, what they own, and what is true there."""


def split(text: str) -> list[str]:
    """Comma-separated words as a list."""
    return [word.strip() for word in text.replace("\n", " ").split(",") if word.strip()]


GIRLS = split(
    """Anna, Bella, Clara, Daisy, Ella, Fern, Grace, Hazel, Ida, June, Kate, Lily, Mia, Nora, Olive, Poppy, Rosa,
    Ruby, Sally, Tess, Una, Vera, Wren, Zoe, Amy, Molly, Lucy, Penny, Mina, Tilly, Maya, Sofia, Ivy, Emma, Dora"""
)
BOYS = split(
    """Adam, Ben, Carl, Dan, Eli, Finn, Gus, Hugo, Ian, Jack, Kit, Leo, Max, Ned, Oscar, Pip, Ralph, Sam, Tom, Victor,
    Will, Zack, Tim, Bruno, Felix, Otto, Rufus, Milo, Theo, Noah, Jasper, Paul, Omar, Luca, Henry"""
)
ANIMALS = split(
    """mouse, fox, bear, rabbit, owl, frog, cat, dog, duck, hen, goat, sheep, cow, pig, horse, wolf, squirrel, hedgehog,
    badger, mole, otter, beaver, deer, crow, sparrow, robin, swan, goose, turtle, snail, bee, ant, spider, butterfly,
    lion, tiger, elephant, monkey, giraffe, zebra, camel, penguin, whale, dolphin, seal, crab, fish, octopus, parrot,
    kitten, puppy, lamb, chick, donkey, hamster, bat, ladybird, worm, eagle, panda, koala, kangaroo, crocodile, snake,
    lizard, raccoon, shark, hippo, rhino, peacock, pony"""
)
PEOPLE = split(
    """girl, boy, farmer, baker, sailor, king, queen, prince, princess, knight, pirate, wizard, witch, fairy, giant,
    teacher, doctor, painter, singer, fisherman, miller, gardener, shepherd, tailor, hunter, astronaut, inventor,
    cook, captain, thief, soldier, grandmother, grandfather, child, clown, detective, explorer, programmer, scientist,
    nurse, postman, shoemaker, blacksmith, magician, old man, old woman, merchant, student, dancer, ninja, superhero"""
)
WONDERS = split(
    """dragon, robot, unicorn, ghost, snowman, monster, troll, elf, dwarf, mermaid, dinosaur, teddy bear, doll, cloud,
    star, little train, boat, lamp, teapot, tree, scarecrow, computer, alien, phoenix, goblin, rocket, moon, river,
    flower, clock, vampire, car, pumpkin, book, toy soldier, machine, stone, genie, tractor, spaceship, leaf, candle"""
)
QUALITIES = split(
    """brave, shy, clever, kind, lonely, lazy, curious, cheerful, small, young, old, gentle, quiet, proud, hungry,
    sleepy, funny, friendly, careful, tiny, tall, grumpy, happy, sad, poor, honest, playful, wise, little, big, greedy,
    stubborn, patient, silly, timid"""
)
COLOURS = split("red, blue, green, yellow, white, black, brown, golden, silver, purple, orange, pink, grey")
LOOKS = split("small, old, shiny, new, tiny, round, pretty, soft, warm, little, heavy, beautiful")
THINGS = split(
    """key, hat, ball, book, ring, scarf, bell, kite, drum, lamp, cup, spoon, basket, box, button, boot, coin, map,
    feather, flute, mirror, umbrella, blanket, bag, toy, crown, necklace, letter, pencil, shell, stone, watch, glove,
    coat, lantern, doll, sword, violin, whistle, ribbon, bottle, compass, rope, pillow, sock, brush, star, bone, wand"""
)
FRIEND_NAMES = GIRLS + BOYS
PLACES = [
    ("forest", "in the forest"), ("garden", "in the garden"), ("meadow", "in the meadow"), ("village", "in the village"),
    ("hill", "on the hill"), ("beach", "on the beach"), ("river", "by the river"), ("lake", "by the lake"),
    ("market", "at the market"), ("farm", "on the farm"), ("mill", "at the mill"), ("castle", "in the castle"),
    ("barn", "in the barn"), ("school", "at the school"), ("old bridge", "under the old bridge"),
    ("big oak", "under the big oak"), ("cave", "in the cave"), ("park", "in the park"), ("harbour", "at the harbour"),
    ("library", "in the library"), ("mountain", "on the mountain"), ("pond", "by the pond"), ("field", "in the field"),
    ("orchard", "in the orchard"), ("bakery", "in the bakery"), ("island", "on the island"), ("town", "in the town"),
    ("kitchen", "in the kitchen"), ("well", "by the well"), ("desert", "in the desert"), ("tower", "in the tower"),
    ("station", "at the station"), ("city", "in the city"), ("valley", "in the valley"), ("attic", "in the attic"),
]
HIDING = split(
    """under a bush, behind a stone, in the tall grass, under a pile of leaves, behind the door, on a low branch,
    between two rocks, next to the path, in an empty nest, under a bench, behind an old barrel, in a hollow tree,
    inside an old boot, at the bottom of a basket, under the bed, on top of a wall"""
)
FOODS = split(
    """bread, cheese, soup, honey, cake, apples, berries, nuts, pie, pancakes, carrots, pears, cherries, porridge,
    cookies, plums, strawberries, jam"""
)
FEARS = [
    ("the dark", "It was only dark, and the stars were still there."),
    ("thunder", "It was only a loud noise, far away in the sky."),
    ("deep water", "The water was cool and carried {him} gently."),
    ("high places", "From up there, the whole world looked small and friendly."),
    ("strangers", "Every friend is a stranger at first."),
    ("spiders", "The spider was tiny, and it was more afraid than {he} was."),
    ("the old house", "It was only an empty house with a squeaky door."),
    ("the wind", "The wind only wanted to play with the leaves."),
]
MAKES = [
    ("a boat", "wood", "it sank", "floated"), ("a kite", "paper", "it fell down", "flew high in the sky"),
    ("a little house", "branches", "it fell over", "stood strong"), ("a cake", "flour and honey", "it burned", "smelled wonderful"),
    ("a scarf", "wool", "it had a big hole", "was long and warm"), ("a chair", "wood", "one leg broke", "did not even shake"),
    ("a pot of soup", "carrots and beans", "it was much too salty", "tasted wonderful"),
    ("a bridge", "logs", "the river washed it away", "held everyone"), ("a song", "sweet words", "nobody could sing it", "made everyone dance"),
    ("a garden", "seeds", "the birds ate all the seeds", "was full of flowers"), ("a flying machine", "feathers and string", "it crashed into a bush", "rose into the air"),
    ("a lantern", "glass and paper", "the light went out", "shone all night"), ("a cart", "old wheels", "a wheel came off", "rolled smoothly down the road"),
]
SIGHTS = split("the sea, the top of the mountain, the big city, the end of the rainbow, the northern lights, the moon, the king's castle, the great waterfall, the other side of the river, the snow")
BARRIERS = [
    ("a wide river", "used a fallen tree as a bridge"), ("a tall wall", "climbed on each other's shoulders"),
    ("a thick fog", "held hands and sang, so that nobody got lost"), ("a deep snow", "made a sledge out of an old door"),
    ("a big storm", "waited in a cave and told each other stories"), ("a dark tunnel", "lit a small lantern"),
    ("a locked gate", "looked for the key and found it under a stone"), ("a steep rock", "tied a rope around a tree"),
]
TROUBLES = [
    ("was stuck in the mud", "pulled with all [his] strength until [friend] was free"),
    ("had a thorn in [fhis] foot", "pulled the thorn out very carefully"),
    ("had fallen into a hole", "let down a long rope and pulled [friend] out"),
    ("could not find the way home", "walked with [friend] all the way home"),
    ("was cold and wet", "made a fire and gave [friend] a warm blanket"),
    ("had dropped all [fhis] apples", "picked up every apple with [friend]"),
    ("was caught in a net", "cut the net, one string at a time"),
    ("had a broken cart", "fixed the wheel with a piece of rope"),
    ("was sick in bed", "cooked a pot of soup and told [friend] a story"),
    ("was sitting in a tree and could not come down", "brought a long ladder and held it tight"),
]
MORALS = {
    "lost": "{a friend helps you to look|you should never give up too soon|it is wise to look twice before you cry|good things come to those who keep looking}",
    "help": "{a small friend can be a big help|kindness comes back|those who help are never alone|it feels good to help}",
    "fear": "{being brave means trying even when you are afraid|fear gets smaller when you look at it|with a friend, nothing is so scary}",
    "share": "{sharing makes everything taste better|those who share always have enough|a shared meal makes a friend}",
    "make": "{you learn from your mistakes|you get better each time you try|two can do more than one}",
    "journey": "{every long road begins with one step|the best part of a journey is a good friend|a good idea is stronger than a wall}",
    "sorry": "{it is good to tell the truth|saying sorry can mend more than a thing|friends forgive each other}",
    "race": "{slow and steady wins the race|a good friend matters more than a prize|it is wrong to laugh at those who are slow}",
    "stranger": "{looks do not tell who somebody is|a friend may look strange at first|kind words open every door}",
    "secret": "{the best treasure is one that you share|curious eyes find wonderful things|some treasures are not made of gold}",
}
