"""Where in a recording somebody speaks: Silero VAD's network and weights in pydiff's layers.

    pip install --no-deps silero-vad
    python examples/silero_vad.py recording.wav --plot speech.png

Prints the stretches of speech in seconds. The recording is a WAV file of 16-bit numbers; it is brought to one channel and to
16 kHz. The package silero-vad (MIT) carries the weights as safetensors; its own code, which needs PyTorch, is not used.

The network (as in the package's tinygrad_model.py) sees 32 ms at a time, and 4 ms before them: a Fourier transform written as
a convolution, four convolutions, an LSTM cell that remembers, and one number out, the probability of speech.
"""

import argparse
import importlib.metadata
import time
import wave
from pathlib import Path

import numpy as np
from _digits import choose_device, leave

import pydiff
from pydiff import nn
from pydiff.nn import functional as F

RATE, CHUNK, CONTEXT = 16_000, 512, 64


class SileroVAD(nn.Module):
    """Probabilities of speech `(chunks,)` in a recording `(samples,)` at 16 kHz, one for each 512 samples."""

    def __init__(self):
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def features(self, chunks):
        """`(chunks, 576)` to `(chunks, 128)`: what does not depend on the chunks before."""
        x = self.stft_conv(F.pad(chunks, (0, CONTEXT), mode="reflect").unsqueeze(1))
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()
        return x.squeeze(-1)

    def forward(self, samples):
        samples = F.pad(samples, (CONTEXT, -len(samples) % CHUNK))
        x = self.features(samples.unfold(0, CONTEXT + CHUNK, CHUNK))
        states, state = [], None
        for one in x.unbind(0):
            state = self.lstm_cell(one, state)
            states.append(state[0])
        return self.final_conv(pydiff.stack(states).relu().unsqueeze(-1)).sigmoid().reshape(-1)


def load_model():
    """The network with the weights of the installed package."""
    try:
        package = importlib.metadata.distribution("silero-vad")  # its module has this file's name
    except importlib.metadata.PackageNotFoundError:
        leave("silero-vad is not installed; try: pip install --no-deps silero-vad")
    model = SileroVAD()
    model.load_state_dict(pydiff.load(package.locate_file("silero_vad/data/silero_vad_16k.safetensors")))
    return model.eval()


def read(path):
    """A WAV file's samples in [-1, 1] at 16 kHz, channels averaged."""
    try:
        with wave.open(str(path)) as file:
            channels, width, rate, count = file.getparams()[:4]
            data = file.readframes(count)
    except (OSError, EOFError, wave.Error) as error:
        leave(f"{path} cannot be read as a WAV file: {error}")
    if width != 2:
        leave(f"expected a WAV file of 16-bit numbers; got {8 * width} bits in {path}")
    samples = np.frombuffer(data, "<i2").reshape(-1, channels).mean(1).astype(np.float32) / 32768
    if rate != RATE:
        x = pydiff.tensor(samples)[None, None]
        samples = F.interpolate(x, size=round(samples.size * RATE / rate), mode="linear", antialias=False)[0, 0].numpy()
    return samples


def stretches(probabilities, threshold=0.5, gap=0.1, least=0.1):
    """(start, end) in seconds: from where speech is likely to where it is much less so; gaps closed, scraps dropped.

    Arguments:
        probabilities: of each chunk.
        threshold: where speech begins; it ends below `threshold - 0.15`.
        gap, least: seconds; shorter pauses are part of the speech, shorter speech is none.
    """
    found, speaking = [], False
    step = CHUNK / RATE
    for k, p in enumerate([*probabilities, 0.0]):
        if not speaking and p >= threshold:
            speaking = True
            if found and k * step - found[-1][1] < gap:
                found[-1][1] = None
            else:
                found.append([k * step, None])
        elif speaking and p < threshold - 0.15:
            speaking = False
            found[-1][1] = k * step
    return [(start, end) for start, end in found if end - start >= least]


def draw(path, samples, probabilities, found):
    """The recording, the probabilities below it, the stretches in colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(11, 5), layout="constrained")
    upper.plot(np.arange(samples.size) / RATE, samples, linewidth=0.4, color="tab:gray")
    upper.set(ylabel="sound", title="Speech: " + (", ".join(f"{a:.1f}–{b:.1f} s" for a, b in found) or "none"))
    lower.step((np.arange(len(probabilities)) + 0.5) * CHUNK / RATE, probabilities, where="mid")
    lower.set(ylabel="probability of speech", xlabel="seconds", ylim=(0, 1.02))
    for axes in (upper, lower):
        for a, b in found:
            axes.axvspan(a, b, color="tab:orange", alpha=0.25, linewidth=0)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(description="Where in a recording somebody speaks.")
    parser.add_argument("recording", type=Path, help="a WAV file of 16-bit numbers")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto", help="where to compute (default: auto)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the recording and what was found")
    options = parser.parse_args(argv)
    device = choose_device(options.device)
    samples = read(options.recording)
    model = load_model().to(device)
    start = time.perf_counter()
    with pydiff.no_grad():
        probabilities = model(pydiff.tensor(samples, device=device)).tolist()
    took = time.perf_counter() - start
    found = stretches(probabilities)
    for a, b in found:
        print(f"{a:7.2f} s to {b:7.2f} s")
    print(f"{sum(b - a for a, b in found):.1f} s of speech in {samples.size / RATE:.1f} s, found in {took:.2f} s")
    if options.plot:
        draw(options.plot, samples, probabilities, found)
        print(f"picture saved to {options.plot}")


if __name__ == "__main__":
    main()
