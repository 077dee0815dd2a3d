//! Medians and quartiles, of values and of differences.

/// The middle of some values, and between what half of them lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Spread {
    /// Of no value all three are NaN.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: quantile(&values, 0.5),
            lower: quantile(&values, 0.25),
            upper: quantile(&values, 0.75),
        }
    }

    /// Of what each value has over the value of the same turn; turns that only one of them has do
    /// not count.
    ///
    /// A turn on a busy machine is dearer for all that is measured in it. The difference of two
    /// medians keeps that; the median of the differences does not.
    pub(crate) fn of_differences(values: &[(u32, f64)], base: &[(u32, f64)]) -> Self {
        let of_turn = |wanted: u32| base.iter().find(|(turn, _)| *turn == wanted);
        let pairs = values.iter();
        Self::of(pairs.filter_map(|(turn, value)| Some(value - of_turn(*turn)?.1)))
    }
}

/// Between two values in proportion.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let below = place as usize;
    let Some(&low) = sorted.get(below) else {
        return f64::NAN;
    };
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64, lower: f64, upper: f64) -> Spread {
        Spread {
            median,
            lower,
            upper,
        }
    }

    #[test]
    fn quartiles() {
        assert_eq!(Spread::of([7.0]), spread(7.0, 7.0, 7.0));
        assert_eq!(Spread::of([4.0, 1.0]), spread(2.5, 1.75, 3.25));
        let values = [9.0, 1.0, 3.0, 5.0, 7.0];
        assert_eq!(Spread::of(values), spread(5.0, 3.0, 7.0));
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn a_difference_is_taken_within_a_turn() {
        // Each costs 10 more, in turns that are dearer and dearer.
        let base = [(0, 50.0), (1, 60.0), (2, 90.0), (3, 1.0)];
        let values = [(2, 100.0), (0, 60.0), (1, 70.0), (9, 1.0)];
        let got = Spread::of_differences(&values, &base);
        assert_eq!(got, spread(10.0, 10.0, 10.0));
    }
}
