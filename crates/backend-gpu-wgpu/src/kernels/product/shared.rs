//! The text of the kernel whose lanes share their weights; see `product_shared.wgsl`.

use super::geometry::Geometry;
use super::text::{Finish, Kind, Tile, finish, loads, places, starts, stores};
use super::{PARAMS, SHARED, shader};
use crate::plan::Shader;

/// Quads of codes whose products add up exactly in f32: 1024 products of at most 2^14.
const EXACT_QUADS: usize = 256;

pub(super) fn shared_shader(
    geometry: &Geometry,
    tile: &Tile,
    subgroup: usize,
    kind: Kind,
    end: Finish,
) -> Shader {
    let integer = kind == Kind::Codes;
    let tailed = !integer && !geometry.depth().is_multiple_of(4);
    // Whether sums of floats must move on to integers before the end.
    let deep = integer && geometry.taps() * geometry.depth().div_ceil(4) > EXACT_QUADS;
    let (out, body, stride) = finish(kind, end);
    let channels = 4 * tile.quads;
    let each = |text: &dyn Fn(usize, usize) -> String| -> String {
        (0..tile.positions)
            .flat_map(|p| (0..channels).map(move |c| (p, c)))
            .map(|(p, c)| text(p, c))
            .collect()
    };
    let mut sums = each(&|p, c| format!("  var s{p}_{c} = 0.0;\n"));
    let mut products = String::new();
    if deep {
        sums += &each(&|p, c| format!("  var t{p}_{c} = 0;\n"));
        sums += &format!("  var room = {EXACT_QUADS}u;\n");
        products += "        if room == 0u {\n";
        products +=
            &each(&|p, c| format!("          t{p}_{c} += i32(s{p}_{c});\n          s{p}_{c} = 0.0;\n"));
        products += &format!("          room = {EXACT_QUADS}u;\n        }}\n        room -= 1u;\n");
    }
    for load in 0..channels / subgroup {
        let at = format!("weights[at + {}u]", load * subgroup);
        products += &format!("        let w{load} = {};\n", kind.decoded(&at));
    }
    for c in 0..channels {
        let (load, lane) = (c / subgroup, c % subgroup);
        products += &format!("        let b{c} = subgroupBroadcast(w{load}, {lane}u);\n");
        for p in 0..tile.positions {
            products += &format!(
                "        s{p}_{c} = fma(x{p}.x, b{c}.x, fma(x{p}.y, b{c}.y, fma(x{p}.z, b{c}.z, fma(x{p}.w, b{c}.w, \
                 s{p}_{c}))));\n"
            );
        }
    }
    let sum = |p: usize, o: usize| {
        let lanes = (4 * o..4 * o + 4).map(|c| match (integer, deep) {
            (true, true) => format!("t{p}_{c} + i32(s{p}_{c})"),
            (true, false) => format!("i32(s{p}_{c})"),
            (false, _) => format!("s{p}_{c}"),
        });
        format!("vec4({})", lanes.collect::<Vec<_>>().join(", "))
    };
    let load = if integer { "vec4<f32>(codes_of($WORD, 0u))" } else { kind.rounded() };
    let values = [
        ("params", PARAMS),
        ("IN", kind.input()),
        ("WEIGHTS", kind.weights()),
        ("SUM", if integer { "vec4<i32>" } else { "vec4<f32>" }),
        ("OUT", out),
        ("FINISH", body),
        ("LANES", &format!("{}u", tile.lanes[0])),
        ("TILE", &format!("{}u", tile.positions)),
        ("BLOCK", &format!("{}u", tile.quads)),
        ("STEP", &format!("{channels}u")),
        ("TAIL", if tailed { super::text::TAIL } else { "" }),
        ("SUMS", &sums),
        ("STARTS", &starts(geometry, tile)),
        ("PLACES", &places(geometry, tile)),
        ("LOADS", &loads(geometry, tile, kind, tailed, load)),
        ("PRODUCTS", &products),
        ("STORES", &stores(tile, stride, &sum)),
    ];
    let form = if geometry.is_pointwise() { "pointwise" } else { "conv" };
    let input = kind.name();
    let output = if integer && end != Finish::Codes { "_reals" } else { "" };
    shader(&format!("{form}_{input}{output}_{}x{channels}_shared", tile.positions), SHARED, &values)
}
