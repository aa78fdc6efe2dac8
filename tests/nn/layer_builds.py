"""A constructor of every layer, as text that is evaluated with `nn` being pydiff's or PyTorch's; and what it is called with."""

import inspect

from pydiff import nn

#: The modules of pydiff.nn whose classes are all here.
FAMILIES = (
    "activation adaptive batchnorm convolution distance dropout embedding lazy linear loss normalization padding pooling shape"
).split()

#: One of each class at least; of some with arguments that show in `repr`.
BUILDS = """
CELU(0.5) CELU(0.5, True) ELU(0.5) ELU(2.0, inplace=True) GELU() GELU('tanh') GLU(0) Hardshrink(0.3) Hardsigmoid(True) Hardswish(True)
Hardtanh(-2.0, 2.0) Hardtanh(inplace=True) LeakyReLU(0.2) LogSigmoid() LogSoftmax(1) Mish(True) PReLU(3, 0.1) RReLU() RReLU(0.1, 0.2, True)
ReLU() ReLU6(True) SELU(True) SiLU(True) Sigmoid() Softmax(-1) Softmax() Softmax2d() Softmin(0) Softplus(2.0) Softshrink(1.0)
Softsign() Tanh() Tanhshrink() Threshold(0.5, -1.0) Threshold(0.5, -1.0, True)
AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0, head_bias=True)
BatchNorm1d(4) BatchNorm2d(4, affine=False) BatchNorm3d(4, track_running_stats=False, bias=False) BatchNorm1d(4, momentum=None)
InstanceNorm1d(4) InstanceNorm2d(4, affine=True) InstanceNorm3d(4, track_running_stats=True)
Conv1d(4, 6, 3) Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, dilation=2, groups=2, bias=False) Conv3d(4, 6, 2)
Conv2d(4, 6, 3, padding='same', padding_mode='circular') Conv1d(4, 6, [3], padding='valid')
ConvTranspose1d(4, 6, 3) ConvTranspose2d(4, 6, 3, 2, 1, 1, 2) ConvTranspose3d(4, 6, 2, output_padding=0, dilation=2)
Fold((4, 5), (2, 2)) Unfold((2, 2), padding=1)
CosineSimilarity() PairwiseDistance(1.0)
AlphaDropout(0.2) Dropout(0.2, True) Dropout1d() Dropout2d(0.1) Dropout3d() FeatureAlphaDropout()
Embedding(10, 3) Embedding(10, 3, padding_idx=-1, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True, sparse=True)
EmbeddingBag(10, 3) EmbeddingBag(10, 3, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True, mode='sum', padding_idx=2)
LazyLinear(4) LazyLinear(4, bias=False) LazyConv1d(6, 3) LazyConv2d(6, 3, groups=2) LazyConv3d(6, 2, bias=False) LazyConvTranspose1d(6, 3)
LazyConvTranspose2d(6, 3, 2) LazyConvTranspose3d(6, 2) LazyBatchNorm1d() LazyBatchNorm2d(momentum=0.2) LazyBatchNorm3d(bias=False)
LazyInstanceNorm1d() LazyInstanceNorm2d(affine=False) LazyInstanceNorm3d(track_running_stats=False)
Bilinear(3, 4, 5) Bilinear(3, 4, 5, bias=False) Flatten() Flatten(0, 1) Identity(3) Linear(3, 4)
BCELoss() BCEWithLogitsLoss() CTCLoss() CosineEmbeddingLoss() CrossEntropyLoss() GaussianNLLLoss() HingeEmbeddingLoss() HuberLoss() KLDivLoss()
L1Loss() LinearCrossEntropyLoss(3, 4, bias=True) MSELoss() MarginRankingLoss() MultiLabelMarginLoss() MultiLabelSoftMarginLoss()
MultiMarginLoss() NLLLoss() NLLLoss2d() PoissonNLLLoss() SmoothL1Loss() SoftMarginLoss() TripletMarginLoss() TripletMarginWithDistanceLoss()
GroupNorm(2, 4) GroupNorm(2, 4, affine=False) LayerNorm(4) LayerNorm((3, 4), bias=False) LocalResponseNorm(3) RMSNorm(4)
RMSNorm([3, 4], eps=0.1, elementwise_affine=False)
CircularPad1d(1) CircularPad2d((1, 2, 0, 1)) CircularPad3d(1) ConstantPad1d(1, 2.5) ConstantPad2d((1, 2, 0, 1), 0) ConstantPad3d(1, -1.0)
ReflectionPad1d(1) ReflectionPad2d(1) ReflectionPad3d(1) ReplicationPad1d((2, 0)) ReplicationPad2d(1) ReplicationPad3d(1) ZeroPad1d(1)
ZeroPad2d((1, 2, 0, 1)) ZeroPad3d(1)
AdaptiveAvgPool1d(2) AdaptiveAvgPool2d((2, None)) AdaptiveAvgPool3d(1) AdaptiveMaxPool1d(2) AdaptiveMaxPool2d(2, True) AdaptiveMaxPool3d(1)
AvgPool1d(2) AvgPool2d((2, 3), padding=1) AvgPool3d(2, 1, divisor_override=3) FractionalMaxPool2d(2, output_ratio=0.5)
FractionalMaxPool3d(2, output_size=3) LPPool1d(2, 3) LPPool2d(1.5, (2, 3), ceil_mode=True) LPPool3d(2, 2, 1) MaxPool1d(2)
MaxPool2d((3, 2), stride=2, padding=1, ceil_mode=True) MaxPool3d(2, dilation=2) MaxUnpool1d(2) MaxUnpool2d((2, 3), 2) MaxUnpool3d(2, padding=1)
ChannelShuffle(2) PixelShuffle(2) PixelUnshuffle(2) Unflatten(1, (2, -1)) Upsample(4) Upsample(scale_factor=(2, 3), mode='bilinear')
UpsamplingBilinear2d((3, 4)) UpsamplingNearest2d(scale_factor=2)
"""


def builds():
    """The texts: calls are divided by spaces that follow a closing parenthesis."""
    return [text + ")" for line in BUILDS.split("\n") for text in line.strip().rstrip(")").split(") ") if text]


def build(library, text):
    """What the text makes of `nn` of that library."""
    return eval(f"nn.{text}", {"nn": library})


def classes():
    """The names of all layers of the families."""
    found = {name: getattr(nn, name) for name in nn.__all__}
    return sorted(
        name for name, value in found.items() if inspect.isclass(value) and value.__module__.rpartition(".")[2] in FAMILIES
    )
