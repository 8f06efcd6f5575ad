//! Whether a document contradicts itself.

use super::{Capability, Processor, Rule, ops};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{PadMode, ResizeMode};
use crate::plan::Precision;

/// Operators that multiply by weights, by name.
fn has_weights(rule: &Rule) -> bool {
    ["Conv", "ConvTranspose", "Gemm", "MatMul"].iter().any(|op| rule.covers_op(op))
}

fn fail<T>(message: String, help: impl Into<String>) -> Result<T> {
    Err(CoreError::new(CoreErrorKind::Capability, message).help(help))
}

pub(super) fn validate(document: &Capability) -> Result<()> {
    let name_is_plain = !document.name.is_empty()
        && document
            .name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if !name_is_plain {
        return fail(
            format!("expected a name of lower-case letters, digits, `-` and `_`, found `{}`", document.name),
            "rename the target",
        );
    }
    sourced("artifact", &document.artifact.source)?;
    if document.processors.is_empty() {
        return fail("expected at least one processor, found none".into(), "add a [[processors]] table");
    }
    let mut rules: Vec<&str> = Vec::new();
    for (index, processor) in document.processors.iter().enumerate() {
        if document.processors[..index].iter().any(|other| other.id == processor.id) {
            return fail(
                format!("expected unique processor ids, found `{}` twice", processor.id),
                "rename one",
            );
        }
        self::processor(processor)?;
        for rule in &processor.rules {
            if rules.contains(&rule.id.as_str()) {
                return fail(
                    format!("expected unique rule ids, found `{}` twice", rule.id),
                    "rename one: reasons and plans name rules by their id",
                );
            }
            rules.push(&rule.id);
        }
    }
    Ok(())
}

fn processor(processor: &Processor) -> Result<()> {
    let place = format!("processor `{}`", processor.id);
    sourced(&place, &processor.source)?;
    if processor.rules.is_empty() {
        return fail(
            format!("{place}: expected at least one rule, found none"),
            "add a [[processors.rules]] table",
        );
    }
    for rule in &processor.rules {
        self::rule(rule, processor)?;
    }
    if let Some(shared) = &processor.shared_scale {
        sourced(&format!("{place}, shared_scale"), &shared.source)?;
        known_ops(&format!("{place}, shared_scale"), &shared.ops)?;
    }
    for fixed in &processor.fixed_scale {
        let place = format!("{place}, fixed_scale `{}`", fixed.op);
        sourced(&place, &fixed.source)?;
        known_ops(&place, std::slice::from_ref(&fixed.op))?;
        let zero_fits = fixed
            .dtype
            .integer_range()
            .is_some_and(|(low, high)| (low..=high).contains(&fixed.zero_point.into()));
        if !fixed.scale.is_finite() || fixed.scale <= 0.0 || !zero_fits {
            return fail(
                format!(
                    "{place}: expected a positive scale and a zero point of {}, found {} and {}",
                    fixed.dtype, fixed.scale, fixed.zero_point
                ),
                "correct the figures",
            );
        }
    }
    for memory in &processor.memories {
        let place = format!("{place}, memory `{}`", memory.name);
        sourced(&place, &memory.source)?;
        figure(&place, "gbps", memory.gbps)?;
        if memory.bytes == Some(0) || memory.holds.is_empty() {
            return fail(
                format!("{place}: expected a size above 0 and something to hold"),
                "correct the table",
            );
        }
        if memory.must_fit && memory.bytes.is_none() {
            return fail(
                format!("{place}: expected a size where `must_fit` is set, found none"),
                "add `bytes`",
            );
        }
    }
    figures(processor, &place)
}

/// Rates and energies: finite, positive, each for a precision that some rule has, and no native precision of weights
/// without a word on its rate.
fn figures(processor: &Processor, place: &str) -> Result<()> {
    let runs = |precision: Precision| processor.rules.iter().any(|rule| rule.precisions.contains(&precision));
    let mut seen: Vec<Precision> = Vec::new();
    for roofline in &processor.roofline {
        let place = format!("{place}, roofline {}", roofline.precision);
        sourced(&place, &roofline.source)?;
        figure(&place, "gmacs", Some(roofline.gmacs))?;
        if seen.contains(&roofline.precision) {
            return fail(format!("{place}: expected one rate per precision, found two"), "remove one");
        }
        seen.push(roofline.precision);
    }
    for energy in &processor.energy {
        let place = format!("{place}, energy {}", energy.precision);
        sourced(&place, &energy.source)?;
        figure(&place, "pj_per_mac", Some(energy.pj_per_mac))?;
        figure(&place, "pj_per_byte", Some(energy.pj_per_byte))?;
    }
    let named = processor
        .roofline
        .iter()
        .map(|roofline| roofline.precision)
        .chain(processor.energy.iter().map(|energy| energy.precision))
        .chain(processor.rate_unknown.iter().copied());
    for precision in named {
        if !runs(precision) {
            return fail(
                format!(
                    "{place}: expected a rule for each precision with a figure, found none for {precision}"
                ),
                "add the rule or remove the figure",
            );
        }
    }
    for rule in
        processor.rules.iter().filter(|rule| rule.support == super::Level::Native && has_weights(rule))
    {
        for &precision in &rule.precisions {
            if !seen.contains(&precision) && !processor.rate_unknown.contains(&precision) {
                return fail(
                    format!(
                        "{place}: expected a roofline rate for {precision}, which rule `{}` runs natively, found none",
                        rule.id
                    ),
                    format!("add a [[processors.roofline]] table, or `rate_unknown = [\"{precision}\"]`"),
                );
            }
        }
    }
    Ok(())
}

fn rule(rule: &Rule, processor: &Processor) -> Result<()> {
    let place = format!("rule `{}`", rule.id);
    sourced(&place, &rule.source)?;
    known_ops(&place, &rule.ops)?;
    if rule.ops.is_empty() || rule.precisions.is_empty() {
        return fail(
            format!("{place}: expected operators and precisions, found none"),
            "list what the rule is about",
        );
    }
    for &precision in &rule.precisions {
        if precision.has_integer_activations() {
            let Some(form) = rule.activations.as_ref().filter(|form| !form.dtypes.is_empty()) else {
                return fail(
                    format!("{place}: expected `activations` with element types for {precision}, found none"),
                    "add `activations = { dtypes = [\"u8\"], symmetry = \"affine\" }`",
                );
            };
            if let Some(dtype) = form
                .dtypes
                .iter()
                .find(|dtype| !dtype.is_integer() || dtype.bits() != precision.activation_bits())
            {
                return fail(
                    format!(
                        "{place}: expected activations of {} bits for {precision}, found {dtype}",
                        precision.activation_bits()
                    ),
                    "give other precisions a rule of their own",
                );
            }
            let default = processor.activations.as_ref().and_then(super::ActivationForm::scheme);
            if precision.activation_bits() == 8
                && default
                    .is_none_or(|scheme| scheme.dtype.bits() != 8 || !form.dtypes.contains(&scheme.dtype))
            {
                return fail(
                    format!(
                        "{place}: expected `activations` of processor `{}` to be among those of its rules",
                        processor.id
                    ),
                    "set the processor's `activations` to the 8-bit form that every rule takes",
                );
            }
        }
        if precision.has_integer_weights() && has_weights(rule) {
            let Some(form) = &rule.weights else {
                return fail(
                    format!("{place}: expected `weights` for {precision}, found none"),
                    "add `weights = { dtypes = [\"i8\"], granularities = [\"per-channel\"], symmetry = \"symmetric\" }`",
                );
            };
            if form.dtypes.is_empty() || form.granularities.is_empty() {
                return fail(
                    format!("{place}: expected types and granularities of weights, found none"),
                    "list them",
                );
            }
            if let Some(dtype) =
                form.dtypes.iter().find(|dtype| dtype.bits() > precision.weight_bits().max(8))
            {
                return fail(
                    format!("{place}: expected weights of {} bits, found {dtype}", precision.weight_bits()),
                    "give other precisions a rule of their own",
                );
            }
        }
    }
    limits(rule, &place)
}

fn limits(rule: &Rule, place: &str) -> Result<()> {
    let limits = &rule.limits;
    let zero = [
        ("rank_max", limits.rank_max),
        ("batch_max", limits.batch_max),
        ("dim_max", limits.dim_max),
        ("kernel_area_max", limits.kernel_area_max),
        ("stride_max", limits.stride_max),
        ("dilation_max", limits.dilation_max),
        ("channels_multiple_of", limits.channels_multiple_of),
    ]
    .into_iter()
    .find(|(_, limit)| *limit == Some(0));
    if let Some((name, _)) = zero {
        return fail(
            format!("{place}: expected `{name}` above 0, found 0"),
            "leave it out where nothing is limited",
        );
    }
    let modes = [
        ("resize_modes", &limits.resize_modes, ResizeMode::NAMES),
        ("pad_modes", &limits.pad_modes, PadMode::NAMES),
    ];
    for (name, found, allowed) in modes {
        if let Some(mode) = found.iter().flatten().find(|mode| !allowed.contains(&mode.as_str())) {
            return fail(
                format!("{place}: expected `{name}` among {}, found `{mode}`", allowed.join(", ")),
                "correct it",
            );
        }
    }
    Ok(())
}

fn sourced(place: &str, source: &str) -> Result<()> {
    if source.trim().is_empty() {
        return fail(
            format!("{place}: expected a source, found an empty text"),
            "name the document that says so",
        );
    }
    Ok(())
}

fn known_ops(place: &str, names: &[String]) -> Result<()> {
    for name in names {
        // Another domain's operators are written `domain.Name` and cannot be checked.
        if !ops::is_known(name) && (!name.contains('.') || name.starts_with('@')) {
            let help = ops::nearest(name).map_or_else(
                || "use ONNX's names".to_owned(),
                |nearest| format!("did you mean `{nearest}`?"),
            );
            return fail(format!("{place}: expected an operator or group, found `{name}`"), help);
        }
    }
    Ok(())
}

fn figure(place: &str, key: &str, figure: Option<f64>) -> Result<()> {
    match figure {
        Some(figure) if !figure.is_finite() || figure <= 0.0 => fail(
            format!("{place}: expected `{key}` finite and above 0, found {figure}"),
            "leave unknown figures out",
        ),
        _ => Ok(()),
    }
}
