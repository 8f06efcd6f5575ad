//! Permutations of axes against index arithmetic.

use fewbit_kernels::Transpose;
use proptest::collection::vec;
use proptest::prelude::*;

fn case() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    vec(prop_oneof![4 => 1usize..6, 1 => 30usize..40], 0..5).prop_flat_map(|extents| {
        let axes: Vec<usize> = (0..extents.len()).collect();
        (Just(extents), Just(axes).prop_shuffle())
    })
}

fn expected(extents: &[usize], permutation: &[usize]) -> Vec<u32> {
    let n: usize = extents.iter().product();
    let out: Vec<usize> = permutation.iter().map(|&axis| extents[axis]).collect();
    (0..n)
        .map(|mut index| {
            let mut coordinates = vec![0; extents.len()];
            for (i, &extent) in out.iter().enumerate().rev() {
                coordinates[permutation[i]] = index % extent;
                index /= extent;
            }
            coordinates.iter().zip(extents).fold(0, |at, (&c, &extent)| at * extent + c) as u32
        })
        .collect()
}

proptest! {
    #[test]
    fn elements_go_where_the_permutation_says((extents, permutation) in case(), cut in any::<prop::sample::Index>()) {
        let plan = Transpose::new(&extents, &permutation).expect("a permutation");
        let n: usize = extents.iter().product();
        prop_assert_eq!(plan.len(), n);
        let input: Vec<u32> = (0..n as u32).collect();
        let expected = expected(&extents, &permutation);
        let cut = cut.index(plan.units() + 1);
        let mut out = vec![0; n];
        let (head, tail) = out.split_at_mut(plan.unit_range(0..cut).len());
        plan.run(&input, 0..cut, head).expect("valid");
        plan.run(&input, cut..plan.units(), tail).expect("valid");
        prop_assert_eq!(&out, &expected);
        prop_assert_eq!(plan.is_copy(), out == input);
    }
}

#[test]
fn layouts_are_each_others_inverse() {
    let input: Vec<u16> = (0..2 * 3 * 35).collect();
    let (there, back) = (
        Transpose::nchw_to_nhwc(2, 3, 35).expect("valid"),
        Transpose::nhwc_to_nchw(2, 3, 35).expect("valid"),
    );
    let (mut nhwc, mut nchw) = (vec![0; input.len()], vec![0; input.len()]);
    there.run(&input, 0..there.units(), &mut nhwc).expect("valid");
    assert_eq!(nhwc[1], 35);
    back.run(&nhwc, 0..back.units(), &mut nchw).expect("valid");
    assert_eq!(nchw, input);
}

#[test]
fn what_is_no_permutation_is_refused() {
    assert!(Transpose::new(&[2, 3], &[0, 0]).is_err());
    assert!(Transpose::new(&[2, 3], &[0]).is_err());
    assert!(Transpose::new(&[2, 3], &[0, 2]).is_err());
    assert!(Transpose::new(&[usize::MAX, 3], &[1, 0]).is_err());
}
