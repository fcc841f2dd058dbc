//! The race: candidates timed in turns, and what follows from their times.
//!
//! A round times each candidate that is still in, one after the other, beginning at another one each time; so a
//! slow moment of the machine falls on all. What is compared is the ratio of two times of one round, whose median
//! has an interval from its order (no distribution is assumed). A candidate that is clearly slower leaves early. At
//! the end all whose ratio to the fastest may be one, or misses it by less than [`SAME`], are ties; of these the one
//! nearest to the rules' plan wins, which is that plan itself where it is among them. A plan whose ratio to the rules'
//! may be one wins nothing, whoever is fastest.

use crate::sample::Sample;

/// Ratios below this are the same time.
pub const SAME: f64 = 1.02;
/// After so many rounds leaves what is slower than the fastest by more than that, in the median.
const LEAVE: [(usize, f64); 3] = [(2, 1.5), (4, 1.2), (7, 1.08)];

/// Who is still in after `rounds` full rounds, of `times` in milliseconds by candidate and round. Candidate 0 is the
/// rules' plan and stays.
pub fn race(times: &[Vec<f64>], rounds: usize) -> Vec<usize> {
    let mut still: Vec<usize> = (0..times.len()).collect();
    for (after, slower) in LEAVE {
        if rounds < after {
            break;
        }
        let medians: Vec<f64> = times.iter().map(|times| median(times, after)).collect();
        let in_race = still.iter().map(|&i| medians[i]);
        let best = in_race.fold(f64::INFINITY, f64::min);
        still.retain(|&i| i == 0 || medians[i] <= slower * best);
    }
    still
}

/// The median of the first times.
fn median(times: &[f64], count: usize) -> f64 {
    match times.get(..count) {
        Some(first) => Sample::new(first.to_vec()).quantile(0.5),
        None => f64::INFINITY,
    }
}

/// The interval in which the median ratio of two lists of times lies, round by round: of 19 times in 20, by order
/// statistics, from six rounds on.
pub fn ratio(times: &[f64], to: &[f64]) -> [f64; 3] {
    let ratios = Sample::new(times.iter().zip(to).map(|(a, b)| a / b).collect());
    let n = times.len().min(to.len()) as f64;
    let out = (n / 2.0 - 0.98 * n.sqrt()).max(0.0).floor();
    let at = out / (n - 1.0).max(1.0);
    [at, 0.5, 1.0 - at].map(|share| ratios.quantile(share))
}

/// Who wins of those that ran all rounds; `distance` is that from the rules' plan, by candidate.
pub fn winner(times: &[Vec<f64>], still: &[usize], distance: &[usize]) -> usize {
    let fastest = still.iter().copied().min_by(|&a, &b| {
        let median = |i: usize| median(&times[i], times[i].len());
        median(a).total_cmp(&median(b))
    });
    let Some(fastest) = fastest else { return 0 };
    let ties = still.iter().copied().filter(|&i| {
        let [low, middle, _] = ratio(&times[i], &times[fastest]);
        low <= 1.0 || middle <= SAME
    });
    let gains = ties.filter(|&i| i == 0 || ratio(&times[i], &times[0])[2] < 1.0);
    gains.min_by_key(|&i| (distance[i], i)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Seed;

    /// Times around a middle, with what the machine adds in each round.
    fn times(middles: &[f64], rounds: usize, noise: f64, seed: u64) -> Vec<Vec<f64>> {
        let mut random = Seed(seed);
        let mut part = || random.between(0, 1000) as f64 / 1000.0;
        let drift: Vec<f64> = (0..rounds).map(|_| 1.0 + part()).collect();
        let one = |&middle: &f64| -> Vec<f64> {
            let of = drift
                .iter()
                .map(|slow| middle * slow * (1.0 + noise * part()));
            of.collect()
        };
        middles.iter().map(one).collect()
    }

    #[test]
    fn a_faster_one_wins_and_ties_go_to_the_nearest() {
        for seed in 0..20 {
            // The machine doubles its times by rounds; 20 % are found all the same.
            let t = times(&[10.0, 8.0, 15.0, 8.02], 15, 0.05, seed);
            let still = race(&t, 15);
            assert!(still.contains(&0) && !still.contains(&2), "{still:?}");
            assert_eq!(winner(&t, &still, &[0, 2, 1, 3]), 1);
            assert_eq!(winner(&t, &still, &[0, 3, 1, 2]), 3);
            // One per cent is no gain, and so is what the noise could be.
            let t = times(&[10.0, 9.9, 10.1], 15, 0.05, seed);
            assert_eq!(winner(&t, &race(&t, 15), &[0, 1, 1]), 0);
        }
    }

    /// A plan near the rules' that swings about ties with the fastest, and may be slower than the rules' as well.
    #[test]
    fn what_may_be_no_faster_than_the_rules_plan_does_not_win() {
        let swinging =
            (0..15).map(|round| [9.0, 10.1, 11.5][usize::from(round > 6) + usize::from(round > 7)]);
        let all = [vec![10.5; 15], swinging.collect(), vec![10.0; 15]];
        let [low, middle, high] = ratio(&all[1], &all[0]);
        assert!(low < 1.0 && middle < 1.0 && high > 1.0, "{high}");
        assert_eq!(winner(&all, &[0, 1, 2], &[0, 1, 2]), 2);
        assert_eq!(winner(&all[..2], &[0, 1], &[0, 1]), 0);
    }

    #[test]
    fn who_left_does_not_come_back() {
        let t = vec![vec![10.0; 3], vec![5.0, 5.0, 50.0], vec![20.0, 20.0]];
        assert_eq!(race(&t, 1), [0, 1, 2]);
        assert_eq!(race(&t, 3), [0, 1]);
        assert_eq!(winner(&[vec![], vec![]], &[], &[0, 1]), 0);
    }

    #[test]
    fn intervals_hold_the_median() {
        let t = times(&[10.0, 9.0], 15, 0.3, 3);
        let [low, middle, high] = ratio(&t[1], &t[0]);
        assert!(low < middle && middle < high);
        assert!(low < 0.9 && 0.9 < high, "{low} {high}");
        assert_eq!(ratio(&[3.0], &[2.0]), [1.5; 3]);
    }
}
