"""Settings of what goes beyond HAN: recipe, loss, labels. No torch.

In: nothing. Out: `Flags`, whose fields every `Config` has; with their defaults the training is the
published one of HAN. docs/parsing-modern.md says what each changes and where it is from.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.settings import ConfigError, Settings

SELECTIONS = ("segment_type_at_av", "event_audio", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags(Settings):
    """One setting for each step beyond HAN; the defaults change nothing."""

    optimiser: str = "adam"
    """'adam', or 'adamw' with `weight_decay`"""
    weight_decay: float = 0.0
    schedule: str = "staircase"
    """of the learning rate: 'staircase' by `lr_factor` and `lr_every_epochs`; 'cosine' after a
    linear warm-up, down to `final_lr_factor` of it at the last step"""
    warmup_epochs: int = 0
    final_lr_factor: float = 0.01
    clip_norm: float = 0.0
    """what the gradient's norm is cut to; 0 cuts nothing"""
    audio_factor: float = 1.0
    """of the audio term of the loss, over `modality_weight`; JoMoLD's is 2"""
    select: str = "segment_type_at_av"
    """which epoch is kept, by the figure on validation events: 'segment_type_at_av',
    'event_audio' (JoMoLD), or the 'last' one (MA)"""
    nce: str = "none"
    """contrast of the seconds of a clip, sound against pictures: 'cross_entropy' of joint audio
    against vision before attention (MA), 'expected' of joint features, the log of the expected
    probability (JoMoLD)"""
    nce_weight: float = 1.0
    nce_temperature: float = 0.2
    nce_smoothing: float = 0.1
    """share of the target that is spread over the clip's other seconds"""
    visual_dropout: float = 0.0
    """of the visual features that the heads read"""
    cross_attention: bool = True
    """of `han`; without it no modality attends to the other"""
    drop_visual: tuple[str, ...] = ()
    """classes that are never in the visual target: a control for what refines labels"""

    denoise: str = "none"
    """which labels are taken out of a modality's targets: 'rank' by held-out teachers' losses over
    all clips, 'swap' by a trained network's answers under other clips' tracks (MA), 'jomold' by the
    losses within each batch (JoMoLD)"""
    rates: str = "contrast"
    """of 'rank', how many labels of a class are wrong: 'contrast' with clips that do not have the
    tag, or the 'ratio' to the mean probability (JoMoLD)"""
    opposite: str = "half"
    """of 'rank', how easy the other modality must be: in the bottom share r, at least 'half', or
    the 'rest', which leaves out no more than its own share of wrong labels"""
    swap_vote: str = "none"
    """of 'rank': labels that 'swap' flags too ('and'), or that either flags ('or')"""
    swap_partners: int = 4
    """clips whose tracks are swapped in, their answers averaged; MA's is 1"""
    swap_alias: bool = False
    """of 'swap', as released: both modalities may lose a label, and one that is not heard is no
    target of the video either"""
    base_epochs: int = 0
    """of the network that 'swap' asks; 0: `epochs`"""
    segments: str = "none"
    """targets of single seconds from held-out teachers' logits: 'hard' or 'soft'"""
    segment_weight: float = 1.0
    """of their loss, after a linear growth over `segment_ramp_epochs`"""
    segment_ramp_epochs: int = 5
    positive_weight: float = 0.0
    """of `segments`: W of UWAV's weights of classes that a clip has and others; 0: all alike"""
    mix: float = 0.0
    """of `segments`: weight of the loss of seconds mixed with others of the batch (UWAV's is 1)"""
    recombine: float = 0.0
    """share of the clips that get another clip's pictures, with their targets (MUG, CVCMS)"""
    teacher_folds: int = 5
    """networks of one modality each, of which every training clip is unknown to one"""
    teacher_epochs: int = 10
    """at most; the epoch with the smallest loss on validation tags is kept"""
    teacher_batch_size: int = 32

    def check_flags(self) -> None:
        """Raise ConfigError for a value that cannot work."""
        self.require_one_of("optimiser", ("adam", "adamw"))
        self.require_one_of("schedule", ("staircase", "cosine"))
        self.require_one_of("select", SELECTIONS)
        self.require_at_least(0, "weight_decay", "warmup_epochs", "final_lr_factor", "clip_norm")
        self.require_at_least(0, "audio_factor", "nce_weight")
        self.require_one_of("denoise", ("none", "rank", "swap", "jomold"))
        self.require_one_of("rates", ("contrast", "ratio"))
        self.require_one_of("opposite", ("half", "rest"))
        self.require_one_of("swap_vote", ("none", "and", "or"))
        self.require_at_least(0, "base_epochs")
        self._check_segments()
        self.require_at_least(1, "swap_partners", "teacher_epochs", "teacher_batch_size")
        self.require_at_least(2, "teacher_folds")
        for name, needed in (("swap_vote", "rank"), ("swap_alias", "swap")):
            if getattr(self, name) not in ("none", False) and self.denoise != needed:
                raise ConfigError(
                    f"{self.section}.{name}={getattr(self, name)!r}: only denoise={needed!r} has "
                    f"it, not {self.denoise!r}"
                )
        self.require_one_of("nce", ("none", "cross_entropy", "expected"))
        if self.nce_temperature <= 0:
            raise ConfigError(f"{self.section}.nce_temperature={self.nce_temperature}: must be > 0")
        for name in ("nce_smoothing", "visual_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{self.section}.{name}={getattr(self, name)}: expected 0 <= {name} < 1"
                )

    def _check_segments(self) -> None:
        self.require_one_of("segments", ("none", "hard", "soft"))
        self.require_at_least(
            0, "segment_weight", "segment_ramp_epochs", "positive_weight", "mix", "recombine"
        )
        if self.recombine > 1:
            raise ConfigError(f"{self.section}.recombine={self.recombine}: a share, at most 1")
        if self.recombine and self.denoise == "jomold":
            raise ConfigError(
                f"{self.section}.recombine={self.recombine}: denoise='jomold' looks for labels of "
                "clips as they are; use denoise='rank'"
            )
        for name in ("positive_weight", "mix"):
            if getattr(self, name) and self.segments == "none":
                raise ConfigError(
                    f"{self.section}.{name}={getattr(self, name)}: needs targets of seconds: set "
                    "segments to 'soft' or 'hard'"
                )

    def of_han_only(self) -> list[str]:
        """Return the settings that networks other than HAN cannot have, as messages name them."""
        asked = {
            "nce='cross_entropy'": self.nce == "cross_entropy",
            "cross_attention=False": not self.cross_attention,
            "denoise='jomold'": self.denoise == "jomold",
        }
        return [name for name, set_so in asked.items() if set_so]

    def steps(self) -> list[str]:
        """Return the steps beyond HAN's loss and labels that are on, as rows name them."""
        named = {
            "nce": self.nce != "none",
            "no cross attention": not self.cross_attention,
            f"denoise by {self.denoise}": self.denoise != "none",
            f"{self.segments} segments": self.segments != "none",
            "mix": self.mix > 0,
            "recombine": self.recombine > 0,
            f"no visual {', '.join(self.drop_visual)}": bool(self.drop_visual),
        }
        return [name for name, on in named.items() if on]

    @property
    def refines_labels(self) -> bool:
        """Whether training aims at more than the clips' tags."""
        return self.denoise != "none" or self.segments != "none" or bool(self.drop_visual)
