//! Any length transforms back to what it was; hostile lengths are refused.

use super::fourier::Fourier;
use crate::onnx::testing::{FLOAT, File, run};

#[test]
fn there_and_back() {
    for size in [1, 2, 3, 4, 6, 7, 12, 25, 30, 37, 64, 97, 210] {
        let signal: Vec<[f64; 2]> = (0..u32::try_from(size).unwrap())
            .map(|v| [f64::from(v * v % 17) - 8.0, f64::from(v % 5)])
            .collect();
        let (forward, inverse) = (Fourier::new(size, false), Fourier::new(size, true));
        let (mut spectrum, mut back) = (signal.clone(), signal.clone());
        forward.run(&forward.table(), &signal, &mut spectrum);
        inverse.run(&inverse.table(), &spectrum, &mut back);
        let error = signal.iter().flatten().zip(back.iter().flatten()).map(|(a, b)| (a - b).abs());
        assert!(error.fold(0.0, f64::max) < 1e-12, "{size}");
    }
}

#[test]
fn hostile_lengths_are_refused() {
    for length in [0, -1, i64::MAX, (1 << 28) + 1] {
        let file = File::new().input("x", FLOAT, &["1", "4", "1"]).output("y").ints("n", &[length]).node(
            "DFT",
            &["x", "n"],
            &["y"],
            &[],
        );
        let answer = file.import().and_then(|model| run(model, &[("x", &[1, 4, 1], &[1.0; 4])]));
        assert!(answer.is_err(), "{length}");
    }
}
