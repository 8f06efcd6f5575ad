"""Inputs that models of the zoo meet in use, and how each of those models is quantized.

Not a program: `models_onnxruntime.py` and the scripts under `tasks/` import it. Every maker takes a number and a split
(`calibration` or `evaluation`); what the two splits give never overlaps. Needs numpy and pillow; spoken input needs
`espeak-ng`, without which a sum of tones stands in.
"""

import dataclasses
import functools
import hashlib
import io
import os
import random
import shutil
import subprocess
import wave

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SPLITS = ("calibration", "evaluation")
# Folder with calibration/ and evaluation/ pictures; the scripts set it from --images.
IMAGES = None
# Arrays of 32 x 32 pictures, calibration.npz and evaluation.npz; the scripts set it from --cifar.
CIFAR = None
# Tokenizer of the sentence encoder, as export_minilm.py writes it; the scripts set it from --tokenizer.
TOKENIZER = None

WORDS = """about above across action after again against almost along always amount animal answer appear autumn balance
basket beauty before begin behind believe better between beyond black border bottle bottom branch bridge bright broken
brother brown budget building butter button camera cannot careful castle center chance change chapter cheese children
choice circle city clean clear clever climb clock cloud coast coffee collect color column common company complete copper
corner cotton country course cover create crowd culture current damage dance danger daughter decide degree deliver desert
detail device dinner direct distance doctor dollar double dragon dream drive during early earth east edge effect eight
either electric empty energy engine enough entire equal evening event every exact example except exercise expect express
family famous farmer father feather field figure final finger finish flower follow forest forget forward fresh friend
front future garden general gentle giant glass golden ground group growth guess guitar half hammer handle happen happy
harbor heart heavy height history holiday honest horse hotel hour house hundred hunter image inside island issue jacket
journey judge juice jungle kettle kitchen knife ladder language large laugh leader leather lemon letter level library
light limit liquid listen little local long lucky machine magnet manage market marble master matter measure member metal
method middle minute mirror model moment money monkey month morning mother mountain museum music narrow nation nature
needle never night noise north notice number object ocean office orange order other outside owner oxygen packet paint
palace paper parent park party pattern peace pencil people pepper perfect person phone picture pilot planet plastic
pocket point police pool potato power present press price prince print prison private problem product promise proper
public purple puzzle quality quarter queen question quick quiet rabbit radio rather reason record region remember repeat
report result return rhythm river rocket round rubber sample school science season second secret seven shadow shape sheep
shelter shoulder signal silence silver simple single sister sleep smooth soldier south space special speech spirit spring
square station steel stone storm story strange stream street strong student summer supply surface sweet system table
teacher temple theory thirty thought thousand through ticket timber tomato tongue toward town trade travel treasure tree
triangle trouble twelve under unit until uncle useful valley value vapor village violin visit vowel wagon water weather
weight west wheel whisper white window winter wisdom wonder wooden world yellow young zebra zero""".split()


def generator(name, split):
    """A random generator of one maker and one split."""
    assert split in SPLITS, split
    return random.Random(int.from_bytes(hashlib.sha256(f"{name} {split}".encode()).digest()[:8], "little"))


def pictures(count, split):
    """The pictures of one split, as many as there are up to `count`."""
    if IMAGES is None:
        raise SystemExit("give --images FOLDER (with calibration/ and evaluation/ in it)")
    folder = os.path.join(IMAGES, split)
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith((".jpg", ".jpeg", ".png")))
    return [Image.open(os.path.join(folder, name)).convert("RGB") for name in names[:count]]


def center(image, size):
    """The middle of a picture, its short side filling `size`."""
    short = min(image.size)
    scaled = image.resize(tuple(extent * size // short for extent in image.size), Image.Resampling.BILINEAR)
    left, top = ((extent - size) // 2 for extent in scaled.size)
    return scaled.crop((left, top, left + size, top + size))


def images_nchw(count, split, size, mean, std):
    arrays = [(np.asarray(center(image, size), np.float32) - mean) / std for image in pictures(count, split)]
    return np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2), np.float32)


def images_nhwc(count, split, size):
    return np.stack([np.asarray(center(image, size), np.float32) / 255 for image in pictures(count, split)])


def cifar(count, split):
    if CIFAR is None:
        raise SystemExit("give --cifar FOLDER (with calibration.npz and evaluation.npz in it)")
    return np.load(os.path.join(CIFAR, f"{split}.npz"))["images"][:count].astype(np.float32)


def letterboxed(image, size):
    """A picture in the upper left of a square whose rest is black, as NudeNet feeds its detector."""
    scale = size / max(image.size)
    scaled = image.resize([max(1, round(extent * scale)) for extent in image.size], Image.Resampling.BILINEAR)
    square = Image.new("RGB", (size, size))
    square.paste(scaled, (0, 0))
    return square


def detector(count, split, size=320):
    arrays = [np.asarray(letterboxed(image, size), np.float32) / 255 for image in pictures(count, split)]
    return np.ascontiguousarray(np.stack(arrays).transpose(0, 3, 1, 2))


@functools.cache
def fonts():
    """Files of fonts that the machine has, in the order of their names: upright ones that a person reads with ease."""
    found = []
    for folder in ("/usr/share/fonts", "/usr/local/share/fonts", os.path.expanduser("~/.fonts"), "/Library/Fonts"):
        for place, _, names in os.walk(folder):
            found += [os.path.join(place, name) for name in names if name.lower().endswith((".ttf", ".otf"))]
    keep = [file for file in found if not any(word in file for word in ("Math", "ExtraLight", "Emoji", "Symbol"))]
    if len(keep) < 3:
        raise SystemExit("expected at least 3 fonts on this machine; install DejaVu or Liberation")
    return sorted(keep, key=os.path.basename)


def text_of(rng):
    """A line as it stands on receipts, forms and covers: words, numbers, dates, prices."""
    kind = rng.randrange(6)
    if kind == 0:
        return f"{rng.choice(WORDS).capitalize()} {rng.randrange(1, 32):02}/{rng.randrange(1, 13):02}/{rng.randrange(1990, 2030)}"
    if kind == 1:
        return f"{rng.choice(WORDS)} {rng.randrange(1, 1000)}.{rng.randrange(100):02}"
    if kind == 2:
        return " ".join(rng.sample(WORDS, 2)).title()
    if kind == 3:
        return f"{rng.choice(WORDS).upper()}-{rng.randrange(10000)}"
    text = " ".join(rng.sample(WORDS, 2 + (kind == 5)))
    return text[:22].rstrip()


def line_picture(text, font_file, rng):
    """One line of text as a camera or a scanner sees it: ink on paper, slightly turned, blurred and noisy."""
    size = rng.randrange(26, 44)
    font = ImageFont.truetype(font_file, size)
    left, top, right, bottom = font.getbbox(text)
    margin = rng.randrange(4, 9)
    paper = tuple(rng.randrange(190, 256) for _ in range(3))
    ink = tuple(rng.randrange(0, 90) for _ in range(3))
    if rng.random() < 0.2:
        paper, ink = ink, paper
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, fill=ink, font=font)
    image = image.rotate(rng.uniform(-1.0, 1.0), Image.Resampling.BICUBIC, fillcolor=paper)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.8)))
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, rng.uniform(0, 8), (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8))


def fitted(image, height, width):
    """A line at the reader's height, grey beyond its end, scaled to -1 to 1, planes in the order blue, green, red."""
    wide = min(width, max(1, -(-image.width * height // image.height)))
    pixels = np.asarray(image.resize((wide, height), Image.Resampling.BILINEAR), np.float32)[:, :, ::-1]
    full = np.zeros((3, height, width), np.float32)
    full[:, :, :wide] = (pixels / 127.5 - 1).transpose(2, 0, 1)
    return full


def text_lines(count, split, height=48, width=320):
    """Pictures of lines and what they say; the splits use different texts, each every font in turn."""
    rng = generator("lines", split)
    pictures_of, texts = [], []
    while len(texts) < count:
        text = text_of(rng)
        # A text belongs to one split only.
        if hashlib.sha256(text.encode()).digest()[0] % 2 != SPLITS.index(split):
            continue
        files = fonts()
        pictures_of.append(fitted(line_picture(text, files[len(texts) % len(files)], rng), height, width))
        texts.append(text)
    return np.stack(pictures_of), texts


def text_pages(count, split, height=480, width=640):
    """Photographs with lines of text on them, as a text detector meets them."""
    rng = generator("pages", split)
    photographs = pictures(count, split)
    pages = []
    for index in range(count):
        page = center(photographs[index % len(photographs)], max(height, width)).crop((0, 0, width, height))
        draw = ImageDraw.Draw(page)
        for _ in range(rng.randrange(3, 9)):
            font = ImageFont.truetype(rng.choice(fonts()), rng.randrange(16, 44))
            place = (rng.randrange(0, width // 2), rng.randrange(0, height - 50))
            text = text_of(rng)
            if rng.random() < 0.6:
                draw.rectangle(draw.textbbox(place, text, font=font), fill=tuple(rng.randrange(170, 256) for _ in range(3)))
                draw.text(place, text, fill=tuple(rng.randrange(0, 80) for _ in range(3)), font=font)
            else:
                draw.text(place, text, fill="white", font=font, stroke_width=2, stroke_fill="black")
        pages.append(np.asarray(page, np.float32)[:, :, ::-1])
    return ((np.stack(pages) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32)


def turned_lines(count, split):
    """Lines of which every second one stands on its head."""
    upright, _ = text_lines(count, split, 48, 192)
    return np.stack([line[:, ::-1, ::-1] if index % 2 else line for index, line in enumerate(upright)])


@functools.cache
def real_files(split, count):
    """Files of this machine, of many kinds, at most 12 of one ending; a file's path decides its split."""
    places = ["/usr/share", "/usr/lib", "/usr/include", "/usr/bin", "/etc"]
    places += [os.path.dirname(os.path.dirname(os.path.abspath(__file__))), os.path.dirname(np.__file__)]
    kinds = {}
    for place in places:
        for folder, folders, names in os.walk(place):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                ending = os.path.splitext(name)[1].lower() or "-"
                if hashlib.sha256(path.encode()).digest()[0] % 2 != SPLITS.index(split):
                    continue
                if len(kinds.setdefault(ending, [])) >= 12 or os.path.islink(path):
                    continue
                if os.path.isfile(path) and os.access(path, os.R_OK) and os.path.getsize(path) >= 64:
                    kinds[ending].append(path)
    # Round by round over the endings, the common ones first, so that no kind outweighs the others.
    order = sorted(kinds, key=lambda ending: (-len(kinds[ending]), ending))
    rounds = [kinds[ending][turn] for turn in range(12) for ending in order if turn < len(kinds[ending])]
    return rounds[:count]


def file_codes(path, size=1024, block=4096, padding=256):
    """The first and the last bytes of a file, white space stripped, as magika's model reads them."""
    with open(path, "rb") as file:
        head = file.read(block)
        file.seek(max(0, os.path.getsize(path) - block))
        tail = file.read(block)
    short = os.path.getsize(path) <= block
    head = (head.strip() if short else head.lstrip())[:size]
    tail = (tail.strip() if short else tail.rstrip())[-size:]
    codes = np.full(2 * size, padding, np.int32)
    codes[: len(head)] = np.frombuffer(head, np.uint8)
    codes[2 * size - len(tail) :] = np.frombuffer(tail, np.uint8)
    return codes


def files_as_codes(count, split):
    return np.stack([file_codes(path) for path in real_files(split, count)])


@functools.cache
def speech(split):
    """A minute or so of speech with pauses and noise, 16 kHz, from -1 to 1."""
    rng = generator("speech", split)
    noise = np.random.default_rng(rng.randrange(2**32))
    pieces = []
    for voice in ("en", "en-us+f3", "en-gb+m3", "de", "fr", "es+f2") * 2:
        text = " ".join(rng.sample(WORDS, 9))
        if shutil.which("espeak-ng"):
            command = ["espeak-ng", "-v", voice, "-s", str(rng.randrange(130, 200)), "--stdout", text]
            with wave.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)) as file:
                rate = file.getframerate()
                # The length in the header is not set when the sound goes to a pipe.
                samples = np.frombuffer(file.readframes(2**24), np.int16).astype(np.float32) / 32768
            at = np.arange(0, len(samples), rate / 16000)
            sound = np.interp(at, np.arange(len(samples)), samples)
        else:
            time = np.arange(3 * 16000) / 16000
            tones = [np.sin(2 * np.pi * rng.uniform(90, 3000) * time) / (k + 1) for k in range(8)]
            sound = np.sum(tones, 0) * (np.sin(2 * np.pi * 3 * time) > 0) * 0.2
        pieces += [sound * rng.uniform(0.3, 1.0), np.zeros(rng.randrange(4000, 20000))]
    sound = np.concatenate(pieces)
    return (sound + noise.normal(0, 0.003, len(sound))).astype(np.float32)


def spectra(sound, frame, step, bands):
    """Logarithms of the energies in `bands` bands of equal width on the mel scale, one row a frame."""
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1) / 16000 * frame
    at = np.arange(frame // 2 + 1)
    rise = (at[None] - edges[:-2, None]) / np.maximum(1e-6, np.diff(edges)[:-1, None])
    fall = (edges[2:, None] - at[None]) / np.maximum(1e-6, np.diff(edges)[1:, None])
    weights = np.clip(np.minimum(rise, fall), 0, 1)
    starts = range(0, len(sound) - frame, step)
    windows = np.stack([sound[start : start + frame] for start in starts]) * np.hanning(frame)
    return np.log(np.abs(np.fft.rfft(windows)) ** 2 @ weights.T + 1e-6)


def keyword_features(count, split):
    """Ten cepstral coefficients of 49 frames of a second of sound."""
    rows = spectra(speech(split), 640, 320, 40)
    cosines = np.cos(np.pi / 40 * (np.arange(40)[:, None] + 0.5) * np.arange(10)[None]) * np.sqrt(2 / 40)
    features = rows @ cosines
    starts = np.linspace(0, len(features) - 49, count).astype(int)
    return np.stack([features[start : start + 49] for start in starts])[..., None].astype(np.float32)


def machine_features(count, split):
    """Five frames of 128 bands in decibels, as the anomaly detector's inputs are made."""
    rows = spectra(speech(split), 1024, 512, 128) * (10 / np.log(10))
    starts = np.linspace(0, len(rows) - 5, count).astype(int)
    return np.stack([rows[start : start + 5].reshape(-1) for start in starts]).astype(np.float32)


def voice_chunks(count, split):
    """576 samples each (64 of the chunk before), with the state that a run over the sound before left behind."""
    sound = speech(split)
    starts = np.linspace(64, len(sound) - 600, count).astype(int)
    chunks = np.stack([sound[start - 64 : start + 512] for start in starts])[:, None]
    state = np.random.default_rng(0).uniform(-0.6, 0.6, (count, 2, 1, 128)).astype(np.float32)
    return {"input": chunks, "state": state, "sr": np.full(count, 16000, np.int64)}


def sentences(count, split, length=32):
    """Sentences as numbers of their pieces, padded; needs TOKENIZER."""
    import tokenizers

    if TOKENIZER is None:
        raise SystemExit("give --tokenizer FILE (minilm_tokenizer.json)")
    tokenizer = tokenizers.Tokenizer.from_file(TOKENIZER)
    tokenizer.enable_padding(length=length)
    tokenizer.enable_truncation(length)
    name = "sentences_calibration.txt" if split == "calibration" else "sentence_pairs.tsv"
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tasks", name), encoding="utf-8") as file:
        texts = [text for line in file for text in line.rstrip("\n").split("\t")]
    return encoded(tokenizer, texts[:count])


def encoded(tokenizer, texts):
    """The three inputs of an encoder of BERT's kind."""
    rows = [tokenizer.encode(text) for text in texts]
    return {
        "input_ids": np.array([row.ids for row in rows], np.int64),
        "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
        "token_type_ids": np.array([row.type_ids for row in rows], np.int64),
    }


@dataclasses.dataclass
class Recipe:
    """How one model is fed and quantized."""

    # Arrays by input, first axis the samples; or one array for a model with one input.
    inputs: object
    # Extents of inputs whose dimensions the file leaves free.
    shapes: tuple = ()
    # More words for `fewbit quantize`.
    quantize: tuple = ()
    # Why not plain w8a8.
    why: str = ""
    # Samples for calibration.
    calibration: int = 64

    def shape_words(self):
        return [word for shape in self.shapes for word in ("--shape", shape)]


def imagenet(count, split):
    return images_nchw(count, split, 224, np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375]))


def lite(count, split):
    return images_nchw(count, split, 224, 127.5, 127.5)


RECIPES = {
    "efficientnet_lite0": Recipe(lite),
    "effnet_lite0": Recipe(lite),
    "resnet8_cifar10": Recipe(cifar),
    "mobilenetv1_vww": Recipe(lambda count, split: images_nhwc(count, split, 96)),
    "dscnn_kws": Recipe(keyword_features),
    "fcae_ad": Recipe(machine_features),
    "resnet18": Recipe(imagenet),
    "resnet50": Recipe(imagenet),
    "mobilenet_v2": Recipe(imagenet),
    "mobilenet_v3_small": Recipe(imagenet),
    "yolov8n_320": Recipe(
        detector,
        ("images=1,3,320,320",),
        ("--ranges", "percentile=99.9999"),
        "what a detector answers to is rare in its activations: ranges of least mean error cut it off",
        120,
    ),
    "ppocr_det": Recipe(text_pages, ("x=1,3,480,640",), calibration=24),
    "ppocr_rec": Recipe(lambda count, split: text_lines(count, split)[0], ("x=1,3,48,320",)),
    "ppocr_cls": Recipe(turned_lines, ("x=1,3,48,192",)),
    "magika": Recipe(
        files_as_codes,
        quantize=("--strategy", "w8a8-dynamic"),
        why="files of one kind reach values that files of others do not: each gets ranges of its own",
    ),
    "minilm": Recipe(
        sentences,
        ("input_ids=1,32", "attention_mask=1,32", "token_type_ids=1,32"),
        ("--strategy", "w8a8-dynamic"),
        "a few channels behind a normalisation are many times larger than the others, how much depends on the sentence",
    ),
    "silero_vad": Recipe(voice_chunks, ("input=1,576", "state=2,1,128")),
}
