"""
Long calls: a timeline, by two ways
===================================

``long_audio="asynch"`` (the default) uploads the file to the AsynchAPI: one emotion for each 5 s, and the vendor keeps
the file for a while. ``long_audio="chunk"`` cuts it at pauses into clips of 5 to 15 s for the DiscreteAPI: nothing is
stored at the vendor, and each clip is a call.

It needs the extras ``sandbox`` and ``report``.
"""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt

from _service import AUDIO, service
from valence_integrations import Engine, Settings

calls = {}
with service():
    for way in ("asynch", "chunk"):
        with Engine(Settings(long_audio=way)) as engine:
            calls[way] = engine.predict(AUDIO / "call.mp3")
            print(f"{way}: {engine.stats.calls} calls, {len(calls[way].segments)} segments")

# %%
# The timelines over the waveform, and who speaks under them. The AsynchAPI's segments have a fixed length; those of
# the DiscreteAPI are longer, for fewer calls, and begin and end where it is quiet.

turns = pd.read_csv(AUDIO / "call.csv")

figure, axes = plt.subplots(
    3, 1, figsize=(10, 6), layout="constrained", sharex=True, gridspec_kw={"height_ratios": [3, 3, 1]}
)
for ax, (way, call) in zip(axes, calls.items(), strict=False):
    call.plot(audio=AUDIO / "call.mp3", ax=ax)
    ax.set(title=f"{way}, {len(call.segments)} segments", xlabel="")

speakers = list(dict.fromkeys(turns["speaker"]))
for place, speaker in enumerate(speakers):
    spans = turns.loc[turns["speaker"] == speaker, ["start", "end"]].to_numpy()
    axes[-1].broken_barh([(start, end - start) for start, end in spans], (place - 0.4, 0.8), color="0.45")
axes[-1].set(yticks=range(len(speakers)), yticklabels=speakers, xlabel="seconds", title="who speaks")
axes[-1].spines[["top", "right"]].set_visible(False)

# %%
# As a table, each segment with the speaker in its middle, and the means over the whole call: where the mood changes,
# they are low all over.


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
