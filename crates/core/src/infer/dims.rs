//! Arithmetic on dimensions: exact where they are known, canonical names where they are not.
//!
//! A dimension computed from a symbol gets an expression over that symbol as its name, so that two paths through a
//! graph which compute the same expression agree. `None` means overflow or a negative result.

use crate::ir::Dim;

/// Longest expression kept as a name; longer ones are named by their hash.
const LONGEST_NAME: usize = 96;

/// A symbol of that expression.
pub(super) fn symbol(text: String) -> Dim {
    if text.len() <= LONGEST_NAME {
        return Dim::Symbol(text);
    }
    // FNV-1a: a stable name for an expression too long to read.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Dim::Symbol(format!("dim_{hash:016x}"))
}

/// A known extent, unless it is negative or too large to address.
pub(super) fn fixed(extent: i128) -> Option<Dim> {
    usize::try_from(extent).ok().filter(|&extent| isize::try_from(extent).is_ok()).map(Dim::Fixed)
}

/// The name inside a larger expression.
fn atom(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '#'));
    if plain { name.to_owned() } else { format!("({name})") }
}

/// `dim + by`.
pub(super) fn offset(dim: &Dim, by: i128) -> Option<Dim> {
    match dim {
        Dim::Fixed(extent) => fixed(*extent as i128 + by),
        Dim::Symbol(_) if by == 0 => Some(dim.clone()),
        Dim::Symbol(name) => Some(symbol(format!("{}{by:+}", atom(name)))),
    }
}

/// `floor(dim / by)`; `None` for a division by zero.
pub(super) fn floor_div(dim: &Dim, by: usize) -> Option<Dim> {
    match dim {
        Dim::Fixed(extent) => extent.checked_div(by).map(Dim::Fixed),
        Dim::Symbol(_) if by == 0 => None,
        Dim::Symbol(_) if by == 1 => Some(dim.clone()),
        Dim::Symbol(name) => Some(symbol(format!("{}/{by}", atom(name)))),
    }
}

/// `ceil(dim / by)`; `None` for a division by zero.
pub(super) fn ceil_div(dim: &Dim, by: usize) -> Option<Dim> {
    match dim {
        Dim::Fixed(extent) if by > 0 => Some(Dim::Fixed(extent.div_ceil(by))),
        Dim::Symbol(_) if by > 0 => floor_div(&offset(dim, by as i128 - 1)?, by),
        _ => None,
    }
}

/// The product of all dimensions.
pub(super) fn product(dims: &[Dim]) -> Option<Dim> {
    let mut factor = 1usize;
    let mut names: Vec<&str> = Vec::new();
    // A zero decides the product whatever else is unknown or too large.
    if dims.contains(&Dim::Fixed(0)) {
        return Some(Dim::Fixed(0));
    }
    for dim in dims {
        match dim {
            Dim::Fixed(extent) => factor = factor.checked_mul(*extent)?,
            Dim::Symbol(name) => names.push(name),
        }
    }
    if names.is_empty() {
        return fixed(factor as i128);
    }
    names.sort_unstable();
    if let ([name], 1) = (names.as_slice(), factor) {
        return Some(Dim::Symbol((*name).to_owned()));
    }
    let names = names.into_iter().map(atom).collect::<Vec<_>>().join("*");
    Some(symbol(if factor == 1 { names } else { format!("{names}*{factor}") }))
}

/// The sum of all dimensions.
pub(super) fn sum(dims: &[Dim]) -> Option<Dim> {
    let mut total = 0i128;
    let mut names: Vec<&str> = Vec::new();
    for dim in dims {
        match dim {
            Dim::Fixed(extent) => total += *extent as i128,
            Dim::Symbol(name) => names.push(name),
        }
    }
    if names.is_empty() {
        return fixed(total);
    }
    names.sort_unstable();
    let joined = if let [name] = names.as_slice() {
        Dim::Symbol((*name).to_owned())
    } else {
        symbol(names.into_iter().map(atom).collect::<Vec<_>>().join("+"))
    };
    offset(&joined, total)
}

/// The extent of two dimensions that must be equal; `None` where they are known to differ.
pub(super) fn unify(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Fixed(left), Dim::Fixed(right)) => (left == right).then(|| a.clone()),
        (Dim::Symbol(_), Dim::Fixed(_)) => Some(b.clone()),
        (_, Dim::Symbol(_)) => Some(a.clone()),
    }
}

/// The extent of two dimensions broadcast against each other; `None` where they cannot be.
pub(super) fn broadcast(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(other.clone()),
        (Dim::Symbol(left), Dim::Symbol(right)) if left != right => {
            let (low, high) = if left < right { (left, right) } else { (right, left) };
            Some(symbol(format!("max({low},{high})")))
        }
        _ => unify(a, b),
    }
}

/// The dimensions of two shapes broadcast against each other, numpy's way; `None` where they cannot be.
pub(super) fn broadcast_all(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let one = Dim::Fixed(1);
    let at = |dims: &[Dim], axis: usize| -> Dim {
        (axis + dims.len()).checked_sub(rank).map_or_else(|| one.clone(), |axis| dims[axis].clone())
    };
    (0..rank).map(|axis| broadcast(&at(a, axis), &at(b, axis))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sym(name: &str) -> Dim {
        Dim::Symbol(name.to_owned())
    }

    #[test]
    fn equal_expressions_have_equal_names() {
        let half = |dim: &Dim| floor_div(&offset(dim, 1).unwrap(), 2).unwrap();
        assert_eq!(half(&sym("H")), half(&sym("H")));
        assert_eq!(half(&sym("H")), sym("(H+1)/2"));
        assert_eq!(offset(&sym("H"), 0), Some(sym("H")));
        assert_eq!(product(&[Dim::Fixed(1), sym("N"), Dim::Fixed(1)]), Some(sym("N")));
        assert_eq!(sum(&[sym("N"), Dim::Fixed(2), Dim::Fixed(3)]), Some(sym("N+5")));
    }

    #[test]
    fn overflow_and_negative_extents_are_refused() {
        assert_eq!(product(&[Dim::Fixed(usize::MAX), Dim::Fixed(2)]), None);
        assert_eq!(product(&[Dim::Fixed(usize::MAX), Dim::Fixed(0)]), Some(Dim::Fixed(0)));
        assert_eq!(offset(&Dim::Fixed(1), -2), None);
        assert_eq!(sum(&[Dim::Fixed(isize::MAX as usize), Dim::Fixed(1)]), None);
        assert_eq!(floor_div(&Dim::Fixed(1), 0), None);
    }

    #[test]
    fn names_do_not_grow_without_bound() {
        let mut dim = sym("N");
        for _ in 0..200 {
            dim = product(&[dim.clone(), dim]).unwrap();
        }
        assert!(matches!(dim, Dim::Symbol(name) if name.len() <= LONGEST_NAME));
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let dims = |extents: &[usize]| extents.iter().map(|&extent| Dim::Fixed(extent)).collect::<Vec<_>>();
        assert_eq!(broadcast_all(&dims(&[2, 1, 4]), &dims(&[3, 1])), Some(dims(&[2, 3, 4])));
        assert_eq!(broadcast_all(&dims(&[2]), &dims(&[3])), None);
        assert_eq!(broadcast_all(&dims(&[0]), &dims(&[1])), Some(dims(&[0])));
        assert_eq!(broadcast_all(&[sym("N")], &dims(&[5])), Some(dims(&[5])));
        assert_eq!(broadcast_all(&[sym("N")], &dims(&[1])), Some(vec![sym("N")]));
    }
}
