"""What a recipe says of its network."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from dermlens.documents import Section
from dermlens.errors import UserError, nearest
from dermlens.models.pretrained.registry import HUB, PACKAGES
from dermlens.models.table import (
    BACKBONES,
    JOINED,
    METADATA_BRANCHES,
    TIMM,
    AttentionKernel,
    ChannelOrder,
    Cut,
    Form,
    PixelNormalization,
    Placebo,
    row_of,
)
from dermlens.plugins import Kind, complete, is_outside, is_trusted

Dropout = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Section):
    """One member of the family.

    Attributes:
        backbone: a row of the table of backbones (`dermlens model list`); any convolutional network of
            timm, `timm:NAME`, or `timm:NAME@NODE` to cut it at a node; or an import path; or several rows
            with `+` between, whose maps are joined (`dermlens study ensemble --network`).
        backbone_settings: of a backbone from outside.
        cut: where it is cut: `paper` is where the authors' code really cuts, `full` is the last feature
            map, `plain` is the uncut network with a linear layer on its 1000 logits (the paper's Table 6).
        weights: what the backbone starts from: `none` (random), `hub` (ImageNet, from timm's hub), `package`
            (ImageNet, from a Python package), or the path of a safetensors file of the uncut backbone or of a
            `.h5` file of keras.applications; `dermlens model weights` lists them.
        form: `keras` is the network of keras.applications (padding, stride, ε), `library` the network as the
            weights of timm and torchvision were trained; none takes what `weights` asks for.
        conventions: how it is trained: `keras` draws new layers, averages the statistics of batch norm and
            drops out as Keras does, `library` as PyTorch does; none takes a `form` that is given, and where
            none is, `library`.
        divide_map: the map at the cut is divided by this: for a start whose maps are larger than those that a
            recipe's rate was chosen for.
        attention: the Soft-Attention kernel: `corrected` sees all channels, `original` keeps the authors'
            axis mix-up (channels 0 to 2), `none` leaves the module out, its max-pool with it.
        heads: K, the attention heads.
        gamma: the learnable scalar of the paper's Eq. 1, which its code does not have.
        pool: what follows the 2×2 max-pool: `flatten` or global average, `gap`.
        dropout: before the last layer.
        metadata: the metadata branch, a row of its registry, several with `+` between, or an import path.
        metadata_settings: of a branch from outside.
    """

    backbone: str = "mobilenet_v3_small"
    backbone_settings: dict[str, Any] = Field(default_factory=dict)
    cut: Cut = "full"
    weights: str = "none"
    form: Form | None = None
    conventions: Form | None = None
    divide_map: Annotated[float, Field(gt=0)] = 1.0
    attention: Literal["none"] | AttentionKernel = "corrected"
    heads: Annotated[int, Field(gt=0, le=1024)] = 16
    gamma: bool = False
    pool: Literal["flatten", "gap"] = "flatten"
    dropout: Dropout = 0.5
    metadata: str = "paper"
    metadata_settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def resolved_form(self) -> Form:
        """The form that is built: weights of hub and packages were trained in their library's."""
        return self.form or ("library" if self.weights in ("hub", "package") else "keras")

    @property
    def resolved_conventions(self) -> Form:
        """The conventions that it is trained by."""
        return self.conventions or self.form or "library"

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, name: str) -> str:
        if name.startswith(TIMM):
            try:
                row_of(name)
            except UserError as error:
                raise ValueError(str(error)) from error
        elif not is_outside("backbone", name):
            for part in name.split(JOINED):
                if part not in BACKBONES:
                    raise ValueError(f"not a backbone{nearest(part, BACKBONES)}")
        return name

    @field_validator("metadata")
    @classmethod
    def _branch_is_known(cls, name: str) -> str:
        if not is_outside("metadata_branch", name):
            for part in name.split(JOINED):
                if part not in METADATA_BRANCHES:
                    raise ValueError(f"not a metadata branch{nearest(part, METADATA_BRANCHES)}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _settings_are_whole(cls, given: Any) -> Any:
        """The settings of what plugs in with their defaults, where its code may be resolved."""
        if not isinstance(given, dict):
            return given
        kinds: dict[str, Kind] = {"backbone": "backbone", "metadata": "metadata_branch"}
        whole = dict(given)
        for key, kind in kinds.items():
            name, settings = given.get(key), given.get(f"{key}_settings", {})
            if isinstance(settings, dict) and is_outside(kind, name) and not str(name).startswith(TIMM):
                whole[f"{key}_settings"] = complete(kind, str(name), settings, f"model.{key}")
        return whole

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for key, name in (("backbone", self.backbone), ("metadata", self.metadata)):
            is_own = name.split(JOINED)[0] in (*BACKBONES, *METADATA_BRANCHES) or name.startswith(TIMM)
            if is_own and getattr(self, f"{key}_settings"):
                raise ValueError(f"{key}_settings are of a {key} from outside, and {key} is {name}")
        if not self.is_known:
            return self  # its code is not trusted here: what builds it checks the rest
        row = row_of(self.backbone)
        if not row.has_cut(self.cut):
            cuts = [cut for cut in ("paper", "full", "plain") if row.has_cut(cut)]
            raise ValueError(f"backbone {self.backbone} has no cut {self.cut}; it has {', '.join(cuts)}")
        if row.source == "joined" and self.weights != "none":
            raise ValueError(f"{self.backbone} is several networks, and weights={self.weights} is of one")
        for kind, known in (("hub", HUB), ("package", PACKAGES)):
            timm = kind == "hub" and self.backbone.startswith(TIMM)
            if self.weights == kind and self.backbone not in known and not timm:
                raise ValueError(f"no {kind} has weights of {self.backbone}; use weights=none or a file")
        if self.cut == "plain" and (self.attention != "none" or self.metadata != "none"):
            raise ValueError("cut plain has no feature map: it needs attention=none and metadata=none")
        if self.gamma and self.attention == "none":
            raise ValueError("gamma belongs to Soft-Attention: it needs attention=original or corrected")
        if self.attention == "none" and self._is_set("heads"):
            raise ValueError("heads belong to Soft-Attention: they need attention=original or corrected")
        if self.cut == "plain":
            for key in ("pool", "dropout", "divide_map"):
                if self._is_set(key):
                    raise ValueError(f"cut plain has one linear layer and no {key}: leave {key} out")
        if self.cut == "paper" and row.tail is not None and self._is_set("pool"):
            raise ValueError(
                f"the paper's cut of {self.backbone} goes on with its own layers: leave pool out"
            )
        return self

    @property
    def is_known(self) -> bool:
        """Whether its backbone may be looked up here: one from outside needs to be trusted."""
        return (
            self.backbone.split(JOINED)[0] in BACKBONES
            or self.backbone.startswith(TIMM)
            or is_trusted("backbone", self.backbone)
        )

    def _is_set(self, key: str) -> bool:
        """Whether a key differs from its default."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)


class NetworkConfig(ModelConfig):
    """A network as it is built, and as model.json describes it: a recipe's, and what its `paper` asks of it.

    Attributes:
        placebo, normalization, channel_order: as in `dermlens.sections.PaperConfig`.
    """

    placebo: Placebo | None = None
    normalization: PixelNormalization = "weights"
    channel_order: ChannelOrder = "rgb"

    @model_validator(mode="before")
    @classmethod
    def _placebos_were_kernels(cls, given: Any) -> Any:
        """Models of earlier versions name a placebo as their attention."""
        if isinstance(given, dict) and given.get("attention") in get_args(Placebo):
            return given | {"attention": "corrected", "placebo": given["attention"]}
        return given

    @classmethod
    def of(cls, model: ModelConfig, **paper: Any) -> Self:
        """The network of a section `model`, which has been validated. A network comes back as it is."""
        return model if isinstance(model, cls) else cls.model_construct(**dict(model), **paper)

    @property
    def kernel(self) -> AttentionKernel | Placebo | None:
        """Of the Soft-Attention; none without it."""
        return None if self.attention == "none" else self.placebo or self.attention
