//! The stable codes of reasons: what each means and what to do about it.

crate::codes! {
    OP = "CAP-OP", "no rule for the operator",
        "The device's capability document has no rule that lists this operator at any precision.",
        "Replace the operator by ones the device has, run that part elsewhere, or choose another target.";
    PRECISION = "CAP-PRECISION", "no rule for the operator at this precision",
        "The device runs the operator, but not at the precision asked for: an accelerator for integers often has no \
         floating-point units at all.",
        "Ask for one of the precisions that the message names, for instance with --strategy or --pin.";
    DYNAMIC = "CAP-DYNAMIC", "a dimension is free",
        "The device needs every extent before it compiles, and this one is known only by name.",
        "Fix it: --shape INPUT=1,3,224,224.";
    TYPE = "CAP-TYPE", "element type",
        "The node reads or writes elements of a type that the rule does not take.",
        "Cast to a type that the rule takes, or remove the part of the model that needs this type.";
    RANK = "CAP-RANK", "number of dimensions",
        "An activation has more or fewer dimensions than the rule takes.",
        "Reshape around the node, or export the model with fewer dimensions.";
    BATCH = "CAP-BATCH", "batch",
        "The device runs smaller batches than the model has.",
        "Fix the batch with --shape and run samples one after the other.";
    DIM = "CAP-DIM", "extent of a dimension",
        "A dimension is longer than the device can count.",
        "Split the tensor along that dimension.";
    NON_UNIT = "CAP-NON-UNIT", "number of dimensions that are not 1",
        "The device maps tensors to few real dimensions; the others must be 1.",
        "Reshape so that fewer dimensions are longer than 1, or fix the batch to 1.";
    KERNEL = "CAP-KERNEL", "kernel extent",
        "The kernel, with its dilation, is larger than the device's.",
        "Use a smaller kernel, or several small ones in its place.";
    STRIDE = "CAP-STRIDE", "stride",
        "The window moves further per step than the device can.",
        "Use a smaller stride, or two layers whose strides multiply to the one wanted.";
    DILATION = "CAP-DILATION", "dilation",
        "The taps of the kernel lie further apart, or less evenly, than the device can read.",
        "Use a smaller or equal dilation along both axes.";
    GROUPS = "CAP-GROUPS", "channel groups",
        "The device has no kernel for this number of groups.",
        "Split the convolution into one per group, or use one group or as many as channels.";
    CHANNELS = "CAP-CHANNELS", "multiple of channels",
        "The number of channels is not a multiple of what the device computes at once.",
        "Pad channels with zeros up to the multiple that the message names.";
    CONSTANT = "CAP-CONSTANT", "an operand must be constant",
        "The rule needs weights, a bias or a parameter that is known before running.",
        "Make the operand an initializer of the model.";
    FUSED = "CAP-FUSED", "fused clamp",
        "The operator carries a clamp that the device cannot fuse.",
        "Use one of the clamps that the message names.";
    WEIGHT_SUM = "CAP-WEIGHT-SUM", "sum of weights",
        "The sum of absolute weight codes of one output channel is larger than the accumulator allows.",
        "Split the layer along its input channels and add the parts.";
    MODE = "CAP-MODE", "mode of the operator",
        "The operator's mode (of a resize or a padding) has no kernel on the device.",
        "Use one of the modes that the message names.";
    AXIS = "CAP-AXIS", "axis of the operator",
        "The device runs the operator along other axes only: the channels, the last axis, or all spatial ones.",
        "Transpose around the node so that it works along the axis that the message names.";
    BROADCAST = "CAP-BROADCAST", "broadcasting",
        "The device needs both operands in the shape of the result.",
        "Expand the smaller operand, or make it constant.";
    ACTIVATION_TYPE = "CAP-ACTIVATION-TYPE", "type of quantized activations",
        "The model's own quantization parameters use an element type that the rule does not take.",
        "Quantize again for this target from the float model.";
    ACTIVATION_ZERO = "CAP-ACTIVATION-ZERO", "zero point of activations",
        "The rule takes symmetric activations only, and this one has a zero point elsewhere.",
        "Quantize again for this target from the float model.";
    WEIGHT_TYPE = "CAP-WEIGHT-TYPE", "type of weights",
        "The weights are stored in a type that the rule does not take.",
        "Quantize again for this target from the float model.";
    WEIGHT_ZERO = "CAP-WEIGHT-ZERO", "zero point of weights",
        "The rule takes symmetric weights only, and these have a zero point that is not 0.",
        "Quantize the weights symmetrically.";
    WEIGHT_GRANULARITY = "CAP-WEIGHT-GRANULARITY", "granularity of weights",
        "The weights share scales in a way that the rule does not take.",
        "Quantize the weights with one of the granularities that the message names.";
    EMULATED = "CAP-EMULATED", "runs, but is emulated",
        "The device computes the right result, but not with hardware or kernels made for it, so it is slower than \
         the figures of this precision suggest.",
        "Nothing has to change; the message says how it runs.";
    RANGE = "CAP-RANGE", "no calibrated range",
        "Integer activations need a range for every tensor, and calibration gave none for this one.",
        "Calibrate the same model again, with data that reaches this node.";
    BIAS = "CAP-BIAS", "bias cannot be represented",
        "The bias is so large beside the products of input and weight scales that 32 bits cannot hold it without \
         taking the weights' own bits.",
        "Plan the node in float, or look for a normalisation that was folded into almost constant channels.";
    SHARED_SCALE = "CAP-SHARED-SCALE", "operands cannot share a scale",
        "The device needs equal scale and zero point on what this operator reads and writes, and one of them is \
         fixed by the operator that produces it.",
        "Move the operator before the one with the fixed scale, or plan it in float.";
    ISLAND = "CAP-ISLAND", "no integer neighbour",
        "The node could run in integers, but what it reads and what reads it runs in float: converting there and \
         back costs more than it saves.",
        "Nothing has to change; pin the node to have it in integers anyway.";
    FLOAT_INPUT = "CAP-FLOAT-INPUT", "input is float",
        "The node only moves elements, or has no weights whose integers would pay for quantizing what it reads, so it \
         follows the precision of that.",
        "Nothing has to change; pin the node to have it in integers anyway.";
    COARSE = "CAP-COARSE", "equal steps are too coarse",
        "The node could run in integers, but 256 equal steps do not carry its values: roots, logarithms, exponentials \
         and reciprocals make multiples of small differences, and a concatenation gives its smallest part the steps of \
         its largest.",
        "Nothing has to change; pin the node, or plan with --minimize, to have it in integers where that is measured \
         to do no harm.";
    SLOWER = "CAP-SLOWER", "emulated integers are slower than float",
        "The device has this precision only by emulation, and runs the node natively in float.",
        "Pin the node to have it in integers anyway.";
    NO_WEIGHTS = "CAP-NO-WEIGHTS", "no weights to quantize",
        "The precision asked for is about constant weights, and this node has none.",
        "Nothing has to change.";
    INTEGER = "CAP-INTEGER", "no integer arithmetic",
        "The one integer arithmetic that every backend must equal has no rule for this operator, or for these types \
         and operands, so no device could run it in integers with a known result.",
        "Nothing has to change: the node runs in float, with conversions around it.";
    TARGET = "CAP-TARGET", "another target does not run it",
        "One artifact is planned for several targets, and one of them does not run this node natively at this precision.",
        "Plan that target apart, or pin the node at a precision that all of them run.";
    PARTITION = "CAP-PARTITION", "behind a node that runs elsewhere",
        "The device runs one connected part of a model: what follows a node that runs elsewhere must run elsewhere too.",
        "Remove the node that the message names, or move it to the end of the model.";
    MEMORY = "CAP-MEMORY", "does not fit",
        "What the memory must hold while the model runs is larger than the memory.",
        "Choose a smaller precision, a smaller input or model, or a device with more memory.";
    LIVE = "CAP-LIVE", "the attached device refuses",
        "The capability document allows the node, but the device that is attached does not run it.",
        "Update the backend or the document: the two must agree.";
}
