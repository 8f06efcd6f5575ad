//! The verdict of a processor on a node: its rules against the whole node.

use super::query::NodeQuery;
use super::{
    FusedClamp, Groups, Limits, Processor, Reason, Rule, Support, Verdict, WeightForm, WeightGranularity,
    reasons,
};
use crate::ir::{Activation, DType, Op, Value};
use crate::plan::Precision;
use crate::quant::{Granularity, Symmetry};

impl Processor {
    /// How this processor would run the node at the precision of `query`, with the rule that allows it, or why not.
    ///
    /// Of several rules that allow the node the first native one wins, then the first one. A refusal lists, for each
    /// rule that covers operator and precision, every limit that the node breaks.
    pub fn judge(&self, query: &NodeQuery<'_>) -> Verdict {
        let op = query.op_name();
        // A device may have a meaning for an operator of its vendor's; what other operators lack no rule can give.
        let vendors = matches!(&query.node.op, Op::Opaque { domain, lack, .. }
            if !domain.is_empty() && lack.form.is_none() && self.rules.iter().any(|rule| rule.covers_op(&op)));
        if !vendors && let Some(error) = query.node.unsupported() {
            return Verdict::refused(vec![Reason::unsupported(&error)]);
        }
        let covering: Vec<&Rule> =
            self.rules.iter().filter(|rule| rule.covers(&op, query.precision)).collect();
        if covering.is_empty() {
            return Verdict::refused(vec![self.uncovered(&op, query)]);
        }
        if !self.dynamic_shapes
            && let Some((value, dim)) = query.free_dimension()
        {
            return Verdict::refused(vec![Reason {
                code: reasons::DYNAMIC.into(),
                rule: None,
                message: format!("dimension `{dim}` of `{value}` is free, {} needs fixed extents", self.id),
                fix: Some("fix it with --shape INPUT=EXTENTS".into()),
            }]);
        }
        let mut refusals = Vec::new();
        let mut emulated: Option<&Rule> = None;
        for rule in covering {
            let broken = check(rule, query);
            if !broken.is_empty() {
                refusals.extend(broken);
            } else if Support::from(rule.support) == Support::Native {
                return Verdict::native(&rule.id);
            } else {
                emulated = emulated.or(Some(rule));
            }
        }
        match emulated {
            Some(rule) => {
                let how = rule.note.clone().unwrap_or_else(|| "no hardware or kernel made for it".into());
                refusals.insert(0, reason(reasons::EMULATED, rule, how, None));
                Verdict::emulated(&rule.id, refusals)
            }
            None => Verdict::refused(refusals),
        }
    }

    /// The reason where no rule covers operator and precision.
    fn uncovered(&self, op: &str, query: &NodeQuery<'_>) -> Reason {
        let mut precisions: Vec<Precision> = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.covers_op(op)) {
            for &precision in &rule.precisions {
                if !precisions.contains(&precision) {
                    precisions.push(precision);
                }
            }
        }
        if precisions.is_empty() {
            let fix = replacement(&query.node.op, self);
            return Reason {
                code: reasons::OP.into(),
                rule: None,
                message: format!("{} has no rule for {op}", self.id),
                fix,
            };
        }
        let names = list(precisions.iter().map(|precision| precision.name()));
        Reason {
            code: reasons::PRECISION.into(),
            rule: None,
            message: format!("{} runs {op} at {names} only, not at {}", self.id, query.precision),
            fix: Some(format!("run it at {names}")),
        }
    }
}

/// An operator that computes the same and that the processor has, where there is one.
fn replacement(op: &Op, processor: &Processor) -> Option<String> {
    let has = |name: &str| processor.rules.iter().any(|rule| rule.covers_op(name));
    let candidates: &[(&str, &str)] = match op {
        Op::GlobalAveragePool => &[
            ("AveragePool", "use AveragePool over the whole image"),
            ("ReduceMean", "use ReduceMean over the spatial axes"),
        ],
        Op::GlobalMaxPool => &[("MaxPool", "use MaxPool over the whole image")],
        Op::Unary(
            crate::ir::UnaryOp::HardSwish | crate::ir::UnaryOp::Silu | crate::ir::UnaryOp::Gelu { .. },
        ) => &[("Relu", "train with Relu or Relu6 instead")],
        Op::MatMul => &[("Gemm", "use Gemm with constant weights")],
        Op::Flatten { .. } | Op::Squeeze { .. } | Op::Unsqueeze { .. } => &[("Reshape", "use Reshape")],
        _ => &[],
    };
    candidates.iter().find(|(name, _)| has(name)).map(|(_, fix)| (*fix).to_owned())
}

/// Every limit and form of `rule` that the node breaks.
fn check(rule: &Rule, query: &NodeQuery<'_>) -> Vec<Reason> {
    let mut broken = Vec::new();
    tensors(rule, query, &mut broken);
    window(rule, query, &mut broken);
    channels(rule, query, &mut broken);
    operands(rule, query, &mut broken);
    modes(rule, query, &mut broken);
    axes(rule, query, &mut broken);
    if query.precision.has_integer_activations() {
        activation_forms(rule, query, &mut broken);
    }
    if query.precision.has_integer_weights() && query.node.op.has_weights() {
        weight_forms(rule, query, &mut broken);
    }
    broken
}

fn reason(code: &str, rule: &Rule, message: String, fix: Option<String>) -> Reason {
    Reason { code: code.into(), rule: Some(rule.id.clone()), message, fix }
}

/// Names joined for a sentence: `a`, `a or b`, `a, b or c`.
fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Ranks, batch, extents and element types.
fn tensors(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let Limits { rank, rank_max, batch_max, dim_max, non_unit_dims_max, element_types, .. } = &rule.limits;
    let id = &rule.id;
    let mut push = |code, message, fix| broken.push(reason(code, rule, message, Some(fix)));
    if let Some(ranks) = rank
        && let Some(value) = query.node.input(0).map(|id| query.graph.value(id))
        && let Some(found) = value.shape.as_ref().map(crate::ir::Shape::rank)
        && !ranks.contains(&found)
    {
        let texts: Vec<String> = ranks.iter().map(ToString::to_string).collect();
        let allowed = list(texts.iter().map(String::as_str));
        push(
            reasons::RANK,
            format!("`{}` has {found} dimensions, rule {id} takes {allowed}", value.name),
            format!("reshape the input to {allowed} dimensions"),
        );
    }
    // One message per kind of limit: the first activation that breaks it stands for the others.
    let (mut ranks, mut batches, mut dims, mut units, mut types) = (false, false, false, false, false);
    for value in query.activations() {
        if let Some(allowed) = element_types
            && let Some(dtype) = value.dtype
            && value.quant.is_none()
            && !allowed.contains(&dtype)
            && !std::mem::replace(&mut types, true)
        {
            let allowed = list(allowed.iter().map(|dtype| dtype.name()));
            push(
                reasons::TYPE,
                format!("`{}` holds {dtype}, rule {id} takes {allowed}", value.name),
                format!("compute it in {allowed}"),
            );
        }
        let Some(shape) = &value.shape else { continue };
        if let Some(max) = *rank_max
            && shape.rank() > max
            && !std::mem::replace(&mut ranks, true)
        {
            push(
                reasons::RANK,
                format!("`{}` has {} dimensions, above the {max} of rule {id}", value.name, shape.rank()),
                format!("reshape it to {max} dimensions or fewer"),
            );
        }
        let extents: Vec<usize> = shape.dims().iter().map(|dim| dim.fixed().unwrap_or(1)).collect();
        if let (Some(max), [batch, _, _, ..]) = (*batch_max, extents.as_slice())
            && *batch > max
            && !std::mem::replace(&mut batches, true)
        {
            push(
                reasons::BATCH,
                format!("batch {batch} of `{}` is above the limit {max} of rule {id}", value.name),
                format!("use batch {max}"),
            );
        }
        if let Some(max) = *dim_max
            && let Some(extent) = extents.iter().find(|extent| **extent > max)
            && !std::mem::replace(&mut dims, true)
        {
            push(
                reasons::DIM,
                format!("dimension {extent} of `{}` is above the limit {max} of rule {id}", value.name),
                format!("split it into parts of {max} or less"),
            );
        }
        let non_unit = extents.iter().filter(|extent| **extent != 1).count();
        if let Some(max) = *non_unit_dims_max
            && non_unit > max
            && !std::mem::replace(&mut units, true)
        {
            push(
                reasons::NON_UNIT,
                format!(
                    "`{}` has {non_unit} dimensions that are not 1, above the limit {max} of rule {id}",
                    value.name
                ),
                format!("reshape it so that at most {max} dimensions are longer than 1"),
            );
        }
    }
}

/// Kernel, stride and dilation.
fn window(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let Some(window) = query.window() else { return };
    let limits = &rule.limits;
    let id = &rule.id;
    let dilated = window.dilated();
    if let Some(max) = &limits.kernel_max
        && let Some((axis, (&found, &max))) =
            dilated.iter().zip(max).enumerate().find(|(_, (found, max))| found > max)
    {
        broken.push(reason(
            reasons::KERNEL,
            rule,
            format!("kernel {found} along spatial axis {axis} (with dilation) is above the limit {max} of rule {id}"),
            Some(if query.is_global_pool() {
                format!("pool in two steps: first with a kernel of {max} or less, then over what is left")
            } else {
                format!("use a kernel of {max} or less, or several small ones in its place")
            }),
        ));
    }
    let area = dilated.iter().fold(1usize, |area, &extent| area.saturating_mul(extent));
    if let Some(max) = limits.kernel_area_max
        && area > max
    {
        broken.push(reason(
            reasons::KERNEL,
            rule,
            format!("kernel area {area} (with dilation) is above the limit {max} of rule {id}"),
            Some(format!("use a kernel whose extents multiply to {max} or less")),
        ));
    }
    if let (Some(max), Some(&found)) = (limits.stride_max, window.strides.iter().max())
        && found > max
    {
        let split = factors(found, max);
        broken.push(reason(
            reasons::STRIDE,
            rule,
            format!("stride {found} is above the limit {max} of rule {id}"),
            Some(match split {
                Some((first, second)) => {
                    format!(
                        "use stride {max} or less, or split it into two layers of stride {first} and {second}"
                    )
                }
                None => format!("use stride {max} or less"),
            }),
        ));
    }
    if let (Some(max), Some(&found)) = (limits.dilation_max, window.dilations.iter().max())
        && found > max
    {
        broken.push(reason(
            reasons::DILATION,
            rule,
            format!("dilation {found} is above the limit {max} of rule {id}"),
            Some(format!("use dilation {max} or less")),
        ));
    }
    if limits.dilation_equal
        && let (Some(low), Some(high)) = (window.dilations.iter().min(), window.dilations.iter().max())
        && low != high
    {
        broken.push(reason(
            reasons::DILATION,
            rule,
            format!("dilations {low} and {high} differ, rule {id} needs the same along every axis"),
            Some(format!("use dilation {low} along every axis")),
        ));
    }
}

/// Two factors of `stride` of at most `max` each.
fn factors(stride: usize, max: usize) -> Option<(usize, usize)> {
    (2..=max)
        .find(|first| stride.is_multiple_of(*first) && stride / first <= max)
        .map(|first| (stride / first, first))
}

/// Groups and multiples of channels.
fn channels(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let id = &rule.id;
    if let (Some(allowed), Some((groups, inputs))) = (&rule.limits.groups, query.groups()) {
        let fits = allowed.iter().any(|allowed| match allowed {
            Groups::Any => true,
            Groups::One => groups == 1,
            Groups::Depthwise => groups > 1 && inputs.is_none_or(|inputs| inputs == groups),
        });
        if !fits {
            let names = list(allowed.iter().map(|groups| match groups {
                Groups::One => "one group",
                Groups::Depthwise => "as many groups as input channels",
                Groups::Any => "any groups",
            }));
            broken.push(reason(
                reasons::GROUPS,
                rule,
                format!("{groups} groups are not among those of rule {id}: {names}"),
                Some(if groups == 1 {
                    "use a depthwise convolution".to_owned()
                } else if allowed.contains(&Groups::One) {
                    format!("split it into {groups} convolutions of one group")
                } else {
                    format!("use {names}")
                }),
            ));
        }
    }
    if let Some(multiple) = rule.limits.channels_multiple_of
        && query.node.op.has_weights()
    {
        let (inputs, outputs) = query.channels();
        for (what, count) in [("input", inputs), ("output", outputs)] {
            if let Some(count) = count.filter(|count| !count.is_multiple_of(multiple)) {
                broken.push(reason(
                    reasons::CHANNELS,
                    rule,
                    format!("{count} {what} channels are not a multiple of the {multiple} of rule {id}"),
                    Some(format!("pad them with zeros to {}", count.next_multiple_of(multiple))),
                ));
            }
        }
    }
}

/// Constness, clamps, sums of weights, broadcasting.
fn operands(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let limits = &rule.limits;
    let id = &rule.id;
    let is_constant = |index: usize| {
        query.node.input(index).is_none_or(|value| query.graph.value(value).constant.is_some())
    };
    let weights: &[usize] =
        if limits.constant_weights && query.node.op.has_weights() { &[1, 2] } else { &[] };
    for &index in weights.iter().chain(&limits.constant_inputs) {
        if !is_constant(index) {
            let name = query.node.input(index).map_or("", |value| query.graph.value(value).name.as_str());
            broken.push(reason(
                reasons::CONSTANT,
                rule,
                format!("input {index} (`{name}`) is computed while running, rule {id} needs a constant"),
                Some("make it an initializer of the model".to_owned()),
            ));
        }
    }
    let activation = query.activation();
    if let Some(allowed) = &limits.fused
        && activation != Activation::None
        && !allowed.iter().any(|clamp| clamp.allows(activation))
    {
        let (low, high) = activation.bounds();
        let allowed = list(allowed.iter().map(|clamp: &FusedClamp| clamp.name()));
        broken.push(reason(
            reasons::FUSED,
            rule,
            format!("the fused clamp to {low}..{high} is not among those of rule {id}: {allowed}"),
            Some(format!("use {allowed}")),
        ));
    }
    if let Some(max) = limits.weight_sum_max
        && let Some(found) = query.weight_sum()
        && found > max
    {
        broken.push(reason(
            reasons::WEIGHT_SUM,
            rule,
            format!("the absolute weight codes of one output channel add up to {found}, above the limit {max} of rule {id}"),
            Some(format!("split the layer along its input channels into {} parts", found.div_ceil(max))),
        ));
    }
    if limits.no_broadcast {
        let output = query.node.outputs.first().and_then(|&id| query.graph.value(id).extents());
        for operand in query.operands() {
            let value = query.graph.value(operand);
            if value.constant.is_none() && value.extents() != output {
                broken.push(reason(
                    reasons::BROADCAST,
                    rule,
                    format!(
                        "`{}` is broadcast, rule {id} needs operands in the shape of the result",
                        value.name
                    ),
                    Some(format!("expand `{}` first, or make it constant", value.name)),
                ));
            }
        }
    }
}

/// Modes and axes.
fn modes(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let id = &rule.id;
    let pairs = [
        (&rule.limits.resize_modes, query.resize_mode(), "resize"),
        (&rule.limits.pad_modes, query.pad_mode(), "padding"),
    ];
    for (allowed, found, what) in pairs {
        if let (Some(allowed), Some(found)) = (allowed, found)
            && !allowed.iter().any(|mode| mode == found)
        {
            let allowed = list(allowed.iter().map(String::as_str));
            broken.push(reason(
                reasons::MODE,
                rule,
                format!("{what} mode {found} is not among those of rule {id}: {allowed}"),
                Some(format!("use mode {allowed}")),
            ));
        }
    }
    if let Some(factors) = &rule.limits.resize_factors
        && let Some((from, to)) = query.resize_extents().into_iter().flatten().find(|&(from, to)| {
            from > 1 && from != to && !(to.is_multiple_of(from) && factors.contains(&(to / from)))
        })
    {
        let texts: Vec<String> = factors.iter().map(ToString::to_string).collect();
        let allowed = list(texts.iter().map(String::as_str));
        broken.push(reason(
            reasons::MODE,
            rule,
            format!("resize of extent {from} to {to} is not by a factor of rule {id}: {allowed}"),
            Some(format!("enlarge by {allowed}")),
        ));
    }
    if rule.limits.channel_axis
        && let Some((axis, rank)) = query.axis()
    {
        let channels = if rank > 2 { 1 } else { rank.saturating_sub(1) };
        if axis != channels && axis + 1 != rank {
            broken.push(reason(
                reasons::AXIS,
                rule,
                format!("axis {axis} is not the channels (axis {channels}), which rule {id} needs"),
                Some(format!("transpose so that it works along axis {channels}")),
            ));
        }
    }
}

/// Axes of a row-wise operator or a reduction.
fn axes(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let id = &rule.id;
    if rule.limits.last_axis
        && let Some((axis, _)) = query.axis()
        && !query.is_last_axis(axis)
    {
        broken.push(reason(
            reasons::AXIS,
            rule,
            format!("axis {axis} is not the last one, which rule {id} needs"),
            Some("transpose so that it works along the last axis".to_owned()),
        ));
    }
    if rule.limits.spatial_axes
        && let Some((axes, rank)) = query.reduced_axes()
        && !axes.iter().copied().eq(2..rank)
    {
        let texts: Vec<String> = axes.iter().map(ToString::to_string).collect();
        broken.push(reason(
            reasons::AXIS,
            rule,
            format!("axes {} are not all spatial axes, which rule {id} reduces", texts.join(", ")),
            Some("reduce over all axes behind batch and channels".to_owned()),
        ));
    }
}

/// Parameters that activations have already.
fn activation_forms(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let Some(form) = &rule.activations else { return };
    let id = &rule.id;
    let quantized: Vec<&Value> = query.activations().filter(|value| value.quant.is_some()).collect();
    if let Some(value) =
        quantized.iter().find(|value| value.dtype.is_some_and(|dtype| !form.dtypes.contains(&dtype)))
    {
        let found = value.dtype.map_or("", DType::name);
        let allowed = list(form.dtypes.iter().map(|dtype| dtype.name()));
        broken.push(reason(
            reasons::ACTIVATION_TYPE,
            rule,
            format!("`{}` is quantized to {found}, rule {id} takes {allowed}", value.name),
            Some(format!("quantize activations to {allowed}")),
        ));
    }
    if form.symmetry == Symmetry::Symmetric
        && let Some((value, zero)) = quantized.iter().find_map(|value| {
            let (dtype, params) = NodeQuery::quantized(value)?;
            let middle = if dtype.is_signed_integer() { 0 } else { 1 << (dtype.bits() - 1) };
            params.zero_points.iter().find(|zero| **zero != middle).map(|zero| (value, *zero))
        })
    {
        broken.push(reason(
            reasons::ACTIVATION_ZERO,
            rule,
            format!("`{}` has zero point {zero}, rule {id} takes symmetric activations", value.name),
            Some("quantize activations symmetrically".to_owned()),
        ));
    }
}

/// Parameters that weights have already.
fn weight_forms(rule: &Rule, query: &NodeQuery<'_>, broken: &mut Vec<Reason>) {
    let (Some(form), Some(weights)) = (&rule.weights, query.weights()) else { return };
    let WeightForm { dtypes, granularities, symmetry } = form;
    let value = query.graph.value(weights);
    let Some((dtype, params)) = NodeQuery::quantized(value) else { return };
    let id = &rule.id;
    if !dtypes.contains(&dtype) {
        let allowed = list(dtypes.iter().map(|dtype| dtype.name()));
        broken.push(reason(
            reasons::WEIGHT_TYPE,
            rule,
            format!("weights `{}` are {dtype}, rule {id} takes {allowed}", value.name),
            Some(format!("quantize weights to {allowed}")),
        ));
    }
    let middle = if dtype.is_signed_integer() { 0 } else { 1 << (dtype.bits() - 1) };
    if *symmetry == Symmetry::Symmetric
        && let Some(zero) = params.zero_points.iter().find(|zero| **zero != middle)
    {
        broken.push(reason(
            reasons::WEIGHT_ZERO,
            rule,
            format!("weights `{}` have zero point {zero}, rule {id} takes symmetric weights", value.name),
            Some("quantize the weights symmetrically".to_owned()),
        ));
    }
    let found = match params.granularity {
        Granularity::PerTensor => WeightGranularity::PerTensor,
        Granularity::PerChannel { .. } => WeightGranularity::PerChannel,
        Granularity::PerBlock { .. } => WeightGranularity::PerBlock,
    };
    // One scale for all channels is a case of one scale per channel.
    let fits = granularities.contains(&found)
        || (found == WeightGranularity::PerTensor && granularities.contains(&WeightGranularity::PerChannel));
    if !fits {
        let allowed = list(granularities.iter().map(|granularity| granularity.name()));
        broken.push(reason(
            reasons::WEIGHT_GRANULARITY,
            rule,
            format!("weights `{}` have scales {}, rule {id} takes {allowed}", value.name, found.name()),
            Some(format!("quantize the weights {allowed}")),
        ));
    }
}
