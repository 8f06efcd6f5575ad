//! One source, one instance per tier: how element-wise kernels reach every instruction set.
//!
//! A function declared with [`tiered!`] is compiled once per tier with that tier's instructions enabled and left to
//! the vectoriser. Its arithmetic has one meaning, since floating-point operations are neither reordered nor
//! contracted: every tier gives the same bits.

/// Declares a function that takes a [`TierToken`](crate::TierToken) first and runs its body with that tier's
/// instructions.
macro_rules! tiered {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<$generic:ident: $first:path $(, $more:path)?>)?
            ($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "the one call into code with more features, behind their proof")
        )]
        $visibility fn $name $(<$generic: $first $(+ $more)?>)? (
            token: $crate::tier::TierToken,
            $($argument: $type),*
        ) $(-> $result)? {
            #[inline(always)]
            fn body $(<$generic: $first $(+ $more)?>)? ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2 $(<$generic: $first $(+ $more)?>)? ($($argument: $type),*) $(-> $result)? {
                body($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$generic: $first $(+ $more)?>)? ($($argument: $type),*) $(-> $result)? {
                body($($argument),*)
            }

            match token.tier() {
                // SAFETY: the token exists only where the machine has its tier's features, which include these.
                #[cfg(target_arch = "x86_64")]
                $crate::tier::Tier::Avx2 | $crate::tier::Tier::AvxVnni => unsafe { avx2($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::tier::Tier::Avx512Vnni => unsafe { avx512($($argument),*) },
                _ => body($($argument),*),
            }
        }
    };
}

pub(crate) use tiered;
