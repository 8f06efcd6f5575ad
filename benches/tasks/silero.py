"""Whether a quantized silero_vad hears speech where the float model does, and whether both hear what ONNX Runtime does.

    python benches/tasks/silero.py silero_vad.onnx [--frames 500] [--fewbit PROGRAM] [quantize words...]

Frames of 32 ms of spoken words with pauses and noise (espeak-ng speaks; without it, tones that come and go). Each of
three runs carries its own state from frame to frame, as a program that listens does, so that errors can add up:
ONNX Runtime, fewbit in float, fewbit quantized. Calibration hears other words in other voices, with the states of a
float run. Prints the largest difference of float probabilities and states (bound 1e-4), in how many frames both say
the same at 0.5, the mean change of the probability, and how many stretches of speech each finds. Bound: 97 % of the
frames, a mean change of 0.03. Exit code 1 below it. The rate is set once for all; the inputs' shapes decide which
branches the model takes.
"""

import sys

import numpy as np
import onnxruntime as ort

import common
from common import real_inputs

parser = common.parser(__doc__)
parser.add_argument("--frames", type=int, default=500)
arguments, extra = common.parse(parser)

WORDS = ("--set", "sr=16000", "--shape", "input=1,576", "--shape", "state=2,1,128")
QUIET = np.zeros((2, 1, 128), np.float32)


def frames(split, count):
    """Windows of 512 samples with the 64 before them."""
    sound = np.concatenate([np.zeros(64, np.float32), real_inputs.speech(split)])
    starts = range(0, min(count * 512, len(sound) - 576), 512)
    return [sound[start : start + 576][None] for start in starts]


def listen(step, sound):
    """The probability of speech and the state behind each frame."""
    state, probabilities, states = QUIET, [], []
    for frame in sound:
        probability, state = step(frame, state)
        probabilities.append(float(probability.ravel()[0]))
        states.append(state)
    return np.array(probabilities), states


def stretches(probabilities):
    speech = np.concatenate([[False], probabilities > 0.5])
    return int((speech[1:] & ~speech[:-1]).sum())


session = ort.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])


def reference(frame, state):
    return session.run(None, {"input": frame, "state": state, "sr": np.array(16000, np.int64)})


def program(work, model, words):
    def step(frame, state):
        np.save(work.path("input.npy"), frame)
        np.save(work.path("state.npy"), state)
        inputs = ("--input", f"input={work.path('input.npy')}", "--input", f"state={work.path('state.npy')}")
        work.run("run", model, *words, "--threads", "1", *inputs, "--output", work.path("out"))
        return np.load(work.path("out/output.npy")), np.load(work.path("out/stateN.npy"))

    return step


sound = frames("evaluation", arguments.frames)
with common.Work(arguments) as work:
    spoken = frames("calibration", 400)
    _, states = listen(reference, spoken)
    heard = {"input": np.stack(spoken), "state": np.stack([QUIET, *states[:-1]])}
    quantized = work.quantize(heard, WORDS, extra)
    expected, expected_states = listen(reference, sound)
    exact, exact_states = listen(program(work, arguments.model, WORDS), sound)
    coarse, _ = listen(program(work, quantized, ()), sound)
    work.sizes(quantized)

scale = max(np.abs(state).max() for state in expected_states)
off = max(np.abs(exact - expected).max(), max(np.abs(a - b).max() for a, b in zip(exact_states, expected_states)) / scale)
agreed = ((coarse > 0.5) == (exact > 0.5)).mean()
change = np.abs(coarse - exact).mean()
print(f"{len(sound)} frames, {100 * (expected > 0.5).mean():.0f} % speech; float against ONNX Runtime: {off:.1e}")
print(f"quantized: {100 * agreed:.2f} % of frames agree, mean change {change:.4f}, largest {np.abs(coarse - exact).max():.3f}")
print(f"stretches of speech: float {stretches(exact)}, quantized {stretches(coarse)}")
sys.exit(common.verdict(off <= 1e-4 and agreed >= 0.97 and change <= 0.03))
