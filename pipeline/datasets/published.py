"""The published lists: which files there are, where each comes from, and what must be in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One list as its authors publish it.

    `name` is the project's name for it, and a path at which it may lie; `repository` on GitHub,
    `repository_path` and `commit` say where it comes from.
    """

    name: str
    sources: tuple[str, ...]
    repository: str
    repository_path: str
    commit: str
    sha256: str

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names under which the file may lie."""
        names = (PurePosixPath(self.name).name, PurePosixPath(self.repository_path).name)
        return tuple(dict.fromkeys(names))


PUBLISHED = (
    PublishedFile(
        name="roudimit_MUSIC_dataset/MUSIC21_solo_videos.json",
        sources=("music21",),
        repository="roudimit/MUSIC_dataset",
        repository_path="MUSIC21_solo_videos.json",
        commit="6f47a09aa1dc",
        sha256="f3e7145e4750a2455c59ab3a8acf4475171a4d3113d0fa3a8a8a549ca3e6c461",
    ),
    PublishedFile(
        name="roudimit_MUSIC_dataset/MUSIC_solo_videos.json",
        sources=("music",),
        repository="roudimit/MUSIC_dataset",
        repository_path="MUSIC_solo_videos.json",
        commit="6f47a09aa1dc",
        sha256="cddd3e9544cac4b5e5ebd55c2707bad0eb6ad29ebff571afb70a5545d4740304",
    ),
    PublishedFile(
        name="roudimit_MUSIC_dataset/MUSIC_duet_videos.json",
        sources=("music21", "music"),
        repository="roudimit/MUSIC_dataset",
        repository_path="MUSIC_duet_videos.json",
        commit="6f47a09aa1dc",
        sha256="f53c60f22d1901b88a15592b55a7e9891ae70016d08fb6f7ec7acd04091cd2e9",
    ),
    PublishedFile(
        name="tribert/music21_train.csv",
        sources=("music21",),
        repository="ubc-vision/TriBERT",
        repository_path="data/music21_train.csv",
        commit="17380ddbfe8e",
        sha256="1a6a4483f77825528255445df9bec413b213a90800d3a8ff1038f20134b6a5b2",
    ),
    PublishedFile(
        name="tribert/music21_val.csv",
        sources=("music21",),
        repository="ubc-vision/TriBERT",
        repository_path="data/music21_val.csv",
        commit="17380ddbfe8e",
        sha256="0f4a75f8eb2ac9695292f3b490aa048ae38799348292c58a7ee605614686e1d6",
    ),
    PublishedFile(
        name="iquery/MUSIC_21/trainmusic21.csv",
        sources=("music21",),
        repository="JiabenChen/iQuery",
        repository_path="data/MUSIC_21/trainmusic21.csv",
        commit="315fba343ec2",
        sha256="f79cf7284d2b9fbe044d80122a9be2a6b9de0a57bf712789842fc8a97d3df330",
    ),
    PublishedFile(
        name="iquery/MUSIC_21/testmusic21.csv",
        sources=("music21",),
        repository="JiabenChen/iQuery",
        repository_path="data/MUSIC_21/testmusic21.csv",
        commit="315fba343ec2",
        sha256="9708820bc94e6747840883eb01a7aa7bfdce95099fe6a0f1a9abd8cbc7e498c4",
    ),
    PublishedFile(
        name="iquery/MUSIC/trainmusic.csv",
        sources=("music",),
        repository="JiabenChen/iQuery",
        repository_path="data/MUSIC/trainmusic.csv",
        commit="315fba343ec2",
        sha256="0855e583b881b66ce777e92d55e0b1f3b219eec883570cf4c62b05b04e84981a",
    ),
    PublishedFile(
        name="iquery/MUSIC/testmusic.csv",
        sources=("music",),
        repository="JiabenChen/iQuery",
        repository_path="data/MUSIC/testmusic.csv",
        commit="315fba343ec2",
        sha256="e5832c228cfe1a0fead871546b71868c6e168987f2a1977b36620c54948626f1",
    ),
    PublishedFile(
        name="ccol_music11/train.csv",
        sources=("music",),
        repository="YapengTian/CCOL-CVPR21",
        repository_path="data/Music/train.csv",
        commit="0f9cf3b73995",
        sha256="f7403dd9a14a392473a6ed77ddb7395525948391056f775bb8b409adcf6e9396",
    ),
    PublishedFile(
        name="ccol_music11/val.csv",
        sources=("music",),
        repository="YapengTian/CCOL-CVPR21",
        repository_path="data/Music/val.csv",
        commit="0f9cf3b73995",
        sha256="afc8b96584aea61eb6126394204891c42f369a957e7fe6fc5374868339863421",
    ),
    PublishedFile(
        name="ccol_music11/test.csv",
        sources=("music",),
        repository="YapengTian/CCOL-CVPR21",
        repository_path="data/Music/test.csv",
        commit="0f9cf3b73995",
        sha256="9977881728cf91584df1ca5dd8991ccf11de3ef2a3d55a176ee5337d25347058",
    ),
    PublishedFile(
        name="clipsep_music11_solo/train.csv",
        sources=("music",),
        repository="sony/CLIPSep",
        repository_path="clipsep/data/MUSIC/solo/train.csv",
        commit="22b6f911c2b7",
        sha256="002494f61b7126faf4293f1ccace3f45f350d0e5a0d3072ec91e422b825f3034",
    ),
    PublishedFile(
        name="clipsep_music11_solo/val.csv",
        sources=("music",),
        repository="sony/CLIPSep",
        repository_path="clipsep/data/MUSIC/solo/val.csv",
        commit="22b6f911c2b7",
        sha256="a2a8f253821cb1f7401490fe68d05ec108f1ec4b1ed50d65414975b5515c6109",
    ),
    PublishedFile(
        name="clipsep_music11_solo/test.csv",
        sources=("music",),
        repository="sony/CLIPSep",
        repository_path="clipsep/data/MUSIC/solo/test.csv",
        commit="22b6f911c2b7",
        sha256="be52322a38815826c2e6f9885efebc52e175a3aaef0520eda38b2c76b609555f",
    ),
    PublishedFile(
        name="mix_and_localize_music11_solo/train.csv",
        sources=("music",),
        repository="hxixixh/mix-and-localize",
        repository_path="data/MUSIC/data-splits/solo/train.csv",
        commit="bbdd56aac292",
        sha256="947bd280d9a3d26ad3c8486e2a5f2c87e259242de78eface0451367f4ee11f83",
    ),
    PublishedFile(
        name="mix_and_localize_music11_solo/val.csv",
        sources=("music",),
        repository="hxixixh/mix-and-localize",
        repository_path="data/MUSIC/data-splits/solo/val.csv",
        commit="bbdd56aac292",
        sha256="aa5a8507f1d5db7f9d0a5c402f5904120bfa888686a8ee447b0aa63dccc954d0",
    ),
    PublishedFile(
        name="mix_and_localize_music11_solo/test.csv",
        sources=("music",),
        repository="hxixixh/mix-and-localize",
        repository_path="data/MUSIC/data-splits/solo/test.csv",
        commit="bbdd56aac292",
        sha256="eeefd411dac57f4419cd80610cc9431b293088a47a1bbb5d8775d1fd839054d3",
    ),
    PublishedFile(
        name="llp/AVVP_train.csv",
        sources=("llp",),
        repository="YapengTian/AVVP-ECCV20",
        repository_path="data/AVVP_train.csv",
        commit="fde56118f2c2",
        sha256="bbeb83e8af46a85075216b213d3464f92dd4ab71468c852ae454b82cc745c0a4",
    ),
    PublishedFile(
        name="llp/AVVP_val_pd.csv",
        sources=("llp",),
        repository="YapengTian/AVVP-ECCV20",
        repository_path="data/AVVP_val_pd.csv",
        commit="fde56118f2c2",
        sha256="1811813b54c5f43c3be0a97bd0971cfb8a93818ca7b3ab96cdc7f4ac37ef37a6",
    ),
    PublishedFile(
        name="llp/AVVP_test_pd.csv",
        sources=("llp",),
        repository="YapengTian/AVVP-ECCV20",
        repository_path="data/AVVP_test_pd.csv",
        commit="fde56118f2c2",
        sha256="3f7a2b040e3b67c15d08efef25002bf8c5b2320f11049eb99ae0eb2d62f8eb9b",
    ),
    PublishedFile(
        name="llp/AVVP_dataset_full.csv",
        sources=("llp",),
        repository="YapengTian/AVVP-ECCV20",
        repository_path="data/AVVP_dataset_full.csv",
        commit="fde56118f2c2",
        sha256="89f112ffc602279c87cc2b2040c4cd42eaf163a9d7e61cf4e74250a343d21e56",
    ),
    PublishedFile(
        name="llp/AVVP_eval_audio_pre2024.csv",
        sources=("llp",),
        repository="YapengTian/AVVP-ECCV20",
        repository_path="data/AVVP_eval_audio.csv",
        commit="the parent of fde56118f2c2",
        sha256="249122f65501d8d611c0027a48643798fe622bedee60f7e6224b5a8e3c02f886",
    ),
    PublishedFile(
        name="llp/AVVP_eval_audio.csv",
        sources=("llp",),
        repository="YapengTian/AVVP-ECCV20",
        repository_path="data/AVVP_eval_audio.csv",
        commit="fde56118f2c2",
        sha256="d5435664668bec6e7eafb39059d2f424ed2682f6b55395262fc3cb691b7d0778",
    ),
    PublishedFile(
        name="llp/AVVP_eval_visual.csv",
        sources=("llp",),
        repository="YapengTian/AVVP-ECCV20",
        repository_path="data/AVVP_eval_visual.csv",
        commit="fde56118f2c2",
        sha256="e2274af694f3f27e38b840e0cd91a9d8d9ac85280f193e90828d26b22db69abe",
    ),
)

BY_NAME: Mapping[str, PublishedFile] = {file.name: file for file in PUBLISHED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the lists of one source hold: items, classes, and for each split the ids of its parts.

    `overlap` counts the ids that a split puts into both training and test.
    """

    items: int
    classes: int
    splits: Mapping[str, Mapping[str, int]]
    overlap: Mapping[str, int]


FACTS: Mapping[str, Facts] = {
    "music21": Facts(
        items=1164 + 149,
        classes=21,
        splits={
            "tribert": {"train": 840, "test": 211},
            "iquery": {"train": 894, "test": 198},
        },
        overlap={},
    ),
    "music": Facts(
        items=536 + 149,
        classes=11,
        splits={
            "co-separation": {"train": 514, "val": 11, "test": 11},
            "ccol": {"train": 468, "val": 52, "test": 26},
            "iquery": {"train": 453, "test": 25},
            "clipsep": {"train": 364, "val": 92, "test": 46},
            "mix-and-localize": {"train": 404, "val": 18, "test": 24},
        },
        overlap={"ccol": 2, "iquery": 2, "clipsep": 35},
    ),
    "llp": Facts(
        items=11849,
        classes=25,
        splits={"official": {"train": 10000, "val": 649, "test": 1200}},
        overlap={},
    ),
}
