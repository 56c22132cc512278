"""
Long calls: two ways to get a timeline
======================================

``long_audio="asynch"`` (the default) uploads the file to the AsynchAPI. It returns one emotion for each 5 s, and the
vendor keeps the file for a while. ``long_audio="chunk"`` cuts the file at pauses into clips of 5 to 15 s for the
DiscreteAPI. Nothing is stored at the vendor, and each clip is a call.

Requires the extras ``sandbox`` and ``report``.
"""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt

from _service import AUDIO, service
from valence_integrations import Engine, Settings

calls = {}
with service():
    for mode in ("asynch", "chunk"):
        with Engine(Settings(long_audio=mode)) as engine:
            calls[mode] = engine.predict(AUDIO / "call.mp3")
            print(f"{mode}: {engine.stats.calls} calls, {len(calls[mode].segments)} segments")

# %%
# Plot the timelines over the waveform, with the speaker turns below. The segments of the AsynchAPI have a fixed length.
# The chunks for the DiscreteAPI are longer, which saves calls, and start and end at pauses.

turns = pd.read_csv(AUDIO / "call.csv")

figure, axes = plt.subplots(
    3, 1, figsize=(10, 6), layout="constrained", sharex=True, gridspec_kw={"height_ratios": [3, 3, 1]}
)
for ax, (mode, call) in zip(axes, calls.items(), strict=False):
    call.plot(audio=AUDIO / "call.mp3", ax=ax)
    ax.set(title=f"{mode}, {len(call.segments)} segments", xlabel="")

speakers = list(dict.fromkeys(turns["speaker"]))
for place, speaker in enumerate(speakers):
    spans = turns.loc[turns["speaker"] == speaker, ["start", "end"]].to_numpy()
    axes[-1].broken_barh([(start, end - start) for start, end in spans], (place - 0.4, 0.8), color="0.45")
axes[-1].set(yticks=range(len(speakers)), yticklabels=speakers, xlabel="seconds", title="speaker")
axes[-1].spines[["top", "right"]].set_visible(False)

# %%
# Print a table of the segments, each with the speaker at its middle, and the mean scores of the whole call. The means
# are all low if the emotion changes during the call.


def speaker_at(seconds: float) -> str:
    speaking = turns.loc[(turns["start"] <= seconds) & (seconds < turns["end"]), "speaker"]
    return speaking.iloc[0] if len(speaking) else "(pause)"


call = calls["chunk"]
timeline = call.to_frame("call.mp3").reset_index()
middle = (timeline["start"] + timeline["end"]).dt.total_seconds() / 2
timeline = timeline.assign(
    start=timeline["start"].dt.total_seconds(), end=timeline["end"].dt.total_seconds(), speaker=middle.map(speaker_at)
)
print(timeline[["start", "end", "speaker", "emotion", "confidence"]].round(2).to_string(index=False))
print("\nOver the whole call:", ", ".join(f"{emotion} {score:.2f}" for emotion, score in call.scores.items()))
plt.show()
