//! How requests are shared between the kinds of work: three classes have a guaranteed share while they are due, heads
//! get the rest, and what one class does not need goes to the others.
//!
//! While a class is due it earns a tenth of a request with every request of any class, and pays a whole one for each of
//! its own. A class that has earned a request comes first, then heads, then any class that is due: deficit round-robin
//! with heads as the remainder.

use super::RequestClass;

/// The share of sweeps, of rechecks and of discovery each.
const GUARANTEED: f64 = 0.1;
/// The classes with a guaranteed share.
const RESERVED: [RequestClass; 3] = [RequestClass::Sweeps, RequestClass::Rechecks, RequestClass::Discovery];
/// The most that can be earned ahead: a class that had to wait for its turn must not have a row of turns then.
const MOST: f64 = 2.0;
/// Sums of tenths are not exact.
const WHOLE: f64 = 1.0 - 1e-9;

/// What each class with a guaranteed share has earned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    earned: [f64; RESERVED.len()],
}

impl Shares {
    /// Whose turn it is among the classes that are due.
    pub(super) fn next(&self, is_due: impl Fn(RequestClass) -> bool) -> Option<RequestClass> {
        let due = || RESERVED.into_iter().zip(self.earned).filter(|(class, _)| is_due(*class));
        let richest = || due().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let entitled = richest().filter(|(_, earned)| *earned >= WHOLE).map(|(class, _)| class);
        entitled
            .or_else(|| is_due(RequestClass::Heads).then_some(RequestClass::Heads))
            .or_else(|| richest().map(|(class, _)| class))
    }

    /// Records that `chosen` makes a request while those classes are due.
    pub(super) fn spend(&mut self, chosen: RequestClass, is_due: impl Fn(RequestClass) -> bool) {
        for (class, earned) in RESERVED.into_iter().zip(&mut self.earned) {
            if is_due(class) {
                *earned = (*earned + GUARANTEED).min(MOST);
            }
            if class == chosen {
                *earned = (*earned - 1.0).max(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [RequestClass; 4] =
        [RequestClass::Heads, RequestClass::Sweeps, RequestClass::Rechecks, RequestClass::Discovery];

    fn count(due: &[RequestClass], turns: usize) -> [usize; 4] {
        let mut shares = Shares::default();
        let mut counts = [0; 4];
        for _ in 0..turns {
            let is_due = |class| due.contains(&class);
            let chosen = shares.next(is_due).unwrap();
            shares.spend(chosen, is_due);
            counts[ALL.iter().position(|class| *class == chosen).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn each_has_its_share_and_heads_have_the_rest() {
        assert_eq!(count(&ALL, 1000), [703, 99, 99, 99]);
        assert_eq!(count(&[RequestClass::Heads, RequestClass::Sweeps], 1000), [901, 99, 0, 0]);
    }

    #[test]
    fn what_is_not_needed_goes_to_the_others() {
        assert_eq!(count(&[RequestClass::Sweeps], 10), [0, 10, 0, 0]);
        let [heads, sweeps, rechecks, _] = count(&[RequestClass::Sweeps, RequestClass::Rechecks], 1000);
        assert!(heads == 0 && sweeps.abs_diff(rechecks) <= 1, "{sweeps} {rechecks}");
        assert_eq!(Shares::default().next(|_| false), None);
    }

    proptest! {
        #[test]
        fn whoever_is_due_gets_a_tenth(
            others in prop::collection::vec(prop::array::uniform3(any::<bool>()), 100..400),
            reserved in 0_usize..3,
        ) {
            let mut shares = Shares::default();
            let mut served = 0_usize;
            for due in &others {
                let is_due = |class: RequestClass| match RESERVED.iter().position(|known| *known == class) {
                    Some(position) => position == reserved || due[position],
                    None => due[reserved],
                };
                let chosen = shares.next(is_due).unwrap();
                shares.spend(chosen, is_due);
                served += usize::from(chosen == RESERVED[reserved]);
            }
            // One request may be owed, and two others may go first.
            prop_assert!(served + 2 >= others.len() / 10, "{served} of {}", others.len());
        }
    }
}
