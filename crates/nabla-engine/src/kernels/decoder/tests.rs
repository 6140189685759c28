//! The bodies of a decoder give the same bits in every build, and those of their definitions.

use super::attention::{Attend, Heads, KEYS, Visible, part_elements, store};
use super::{Gate, Pairs, gated, rms_norm, rotate};
use crate::kernels::math::tests::{bits, isas};
use crate::kernels::tests::Numbers;
use crate::kernels::{Isa, math};

/// Attention by its definition: chains in order, no pages.
fn plain(
    size: usize,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    from: usize,
    to: usize,
    cap: Option<f32>,
) -> Vec<f32> {
    let mut out = Vec::new();
    for query in queries.chunks_exact(size) {
        let score = |token: usize| {
            let sum = (0..size).fold(0.0, |sum: f32, i| query[i].mul_add(keys[token * size + i], sum)) * 0.25;
            cap.map_or(sum, |cap| math::f32::tanh::<crate::kernels::Hard>(sum / cap) * cap)
        };
        let mut scores: Vec<f32> = (from..to).map(score).collect();
        let length = scores.len();
        crate::kernels::rows::rows_in_place(
            Isa::Scalar,
            crate::kernels::rows::RowRule::Softmax,
            &mut scores,
            length,
            1,
        );
        out.extend((0..size).map(|lane| {
            let tokens = (from..to).zip(&scores);
            tokens.fold(0.0, |sum: f32, (token, weight)| weight.mul_add(values[token * size + lane], sum))
        }));
    }
    out
}

#[test]
fn attention_is_its_definition_on_every_build() {
    for (size, heads, tokens) in [(64, 3, 40), (80, 4, 17), (6, 1, 16), (128, 8, 33), (16, 2, 1)] {
        let mut numbers = Numbers::new(u32::try_from(size).unwrap());
        let [queries, keys, values] = [heads, tokens, tokens].map(|count| numbers.floats(count * size));
        let pages = tokens.div_ceil(KEYS);
        let mut arena = vec![0.0; pages * part_elements(size)];
        // Pages lie in any order.
        let starts: Vec<usize> = (0..pages).rev().map(|page| page * part_elements(size)).collect();
        for token in 0..tokens {
            let part = &mut arena[starts[token / KEYS]..][..part_elements(size)];
            store(part, size, token, &keys[token * size..][..size], &values[token * size..][..size]);
        }
        for (from, cap) in [(0, None), (tokens / 2, Some(20.0)), (tokens - 1, None)] {
            let expected = plain(size, &queries, &keys, &values, from, tokens, cap);
            for isa in isas() {
                let mut out = vec![0.0; heads * size];
                isa.run(Attend {
                    heads: Heads { size, queries: &queries, scale: 0.25, cap },
                    visible: Visible { arena: &arena, starts: &starts, from, to: tokens },
                    out: &mut out,
                });
                assert_eq!(
                    bits(&out),
                    bits(&expected),
                    "{size} x {heads} over {from}..{tokens}, {}",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn norms_rotations_and_gates_are_the_same_on_every_build() {
    let mut numbers = Numbers::new(1);
    let (x, weights, up) = (numbers.floats(3 * 70), numbers.floats(70), numbers.floats(3 * 70));
    let turns: Vec<[f32; 2]> = (0..5).map(|_| [numbers.floats(1)[0], numbers.floats(1)[0]]).collect();
    let all = |isa: Isa| {
        let mut out = vec![0.0; x.len()];
        rms_norm(isa, &x, &weights, 1e-5, &mut out);
        let mut results = bits(&out);
        for pairs in [Pairs::Neighbours, Pairs::Halves] {
            let mut turned = x.clone();
            rotate(isa, &mut turned, 14, pairs, &turns);
            assert_eq!(turned[10..14], x[10..14], "elements behind the pairs stay");
            results.extend(bits(&turned));
        }
        for gate in [Gate::Silu, Gate::GeluTanh] {
            let mut gates = x.clone();
            gated(isa, gate, &mut gates, &up);
            results.extend(bits(&gates));
        }
        results
    };
    let expected = all(Isa::Scalar);
    isas().into_iter().for_each(|isa| assert_eq!(all(isa), expected, "{}", isa.name()));
}
