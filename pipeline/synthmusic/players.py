"""The player of each of the 21 classes: six of the demo's, fifteen of this package."""

from __future__ import annotations

from pipeline.demo import music_clip
from pipeline.demo.music_clip import PlayerMaker
from pipeline.synthmusic.players_bowed import Cello, Erhu
from pipeline.synthmusic.players_hands import Congas, Kit
from pipeline.synthmusic.players_keys import Accordion, Guzheng, Piano
from pipeline.synthmusic.players_necked import Banjo, ElectricBass, Pipa, Ukulele
from pipeline.synthmusic.players_wind import Bagpipe, Bassoon, Clarinet, Saxophone, Trumpet

PLAYERS: dict[str, PlayerMaker] = {
    **music_clip.PLAYERS,
    "accordion": Accordion,
    "bagpipe": Bagpipe,
    "banjo": Banjo,
    "bassoon": Bassoon,
    "cello": Cello,
    "clarinet": Clarinet,
    "congas": Congas,
    "drum": Kit,
    "electric_bass": ElectricBass,
    "erhu": Erhu,
    "guzheng": Guzheng,
    "piano": Piano,
    "pipa": Pipa,
    "saxophone": Saxophone,
    "trumpet": Trumpet,
    "ukulele": Ukulele,
}
