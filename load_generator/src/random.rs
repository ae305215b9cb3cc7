//! Seeded random choices: which item a transaction accesses, and how often the same item is chosen.

use super::error::LoadError;

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and a seed gives the same numbers on every platform.
#[derive(Clone, Debug)]
pub(crate) struct RandomSource(u64);

impl RandomSource {
    /// A random source with a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 uniformly distributed bits.
    pub(crate) fn bits(&mut self) -> u64 {
        // The generator is defined modulo 2^64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`. `end` must be at least 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The high half of the product with the range is uniform to within end / 2^64.
        let product = u128::from(self.bits()) * (end as u128);
        usize::try_from(product >> 64).expect("below `end`")
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "53 bits are what an f64 holds exactly"
        )]
        let numerator = (self.bits() >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }
}

/// How often transactions access the same items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hotness {
    /// Share of the choices that fall into the hot set, 0 to 1.
    pub hot_share: f64,
    /// Size of the hot set, which is the first items.
    pub hot_items: usize,
    /// Zipf exponent of the choices outside the hot set; 0 for uniform choices. Item i has weight 1 / (i + 1)^exponent.
    pub zipf: f64,
    /// This many successive transactions choose the same item and so form a chain.
    pub chain_length: usize,
}

impl Default for Hotness {
    fn default() -> Self {
        Self {
            hot_share: 0.0,
            hot_items: 1,
            zipf: 0.0,
            chain_length: 1,
        }
    }
}

/// The largest number of items of a scenario.
pub(crate) const ITEMS_MAX: usize = 1_000_000;

/// Chooses items by a [`Hotness`].
#[derive(Clone, Debug)]
pub(crate) struct Picker {
    hotness: Hotness,
    items: usize,
    /// Running sums of the Zipf weights; empty for uniform choices.
    sums: Vec<f64>,
    chain: Option<(usize, usize)>,
}

impl Picker {
    /// Chooses among `items` items.
    pub(crate) fn new(items: usize, hotness: Hotness) -> Result<Self, LoadError> {
        let error = if items == 0 || items > ITEMS_MAX {
            Some(format!("there must be 1 to {ITEMS_MAX} items"))
        } else if !(0.0..=1.0).contains(&hotness.hot_share) {
            Some("the hot share must be between 0 and 1".to_owned())
        } else if hotness.hot_items == 0 || hotness.hot_items > items {
            Some(format!("the hot set must have 1 to {items} items"))
        } else if !(0.0..=10.0).contains(&hotness.zipf) {
            Some("the Zipf exponent must be between 0 and 10".to_owned())
        } else if hotness.chain_length == 0 {
            Some("the chain length must be at least 1".to_owned())
        } else {
            None
        };
        if let Some(error) = error {
            return Err(LoadError::Options(error));
        }
        let mut sums = Vec::new();
        if hotness.zipf > 0.0 {
            let mut sum = 0.0;
            for item in 0..items {
                #[expect(clippy::cast_precision_loss, reason = "items are far fewer than 2^52")]
                let rank = (item + 1) as f64;
                sum += rank.powf(-hotness.zipf);
                sums.push(sum);
            }
        }
        Ok(Self {
            hotness,
            items,
            sums,
            chain: None,
        })
    }

    /// The number of items.
    pub(crate) fn items(&self) -> usize {
        self.items
    }

    /// The next item.
    pub(crate) fn pick(&mut self, random: &mut RandomSource) -> usize {
        if let Some((item, left)) = self.chain.filter(|(_, left)| *left > 0) {
            self.chain = Some((item, left - 1));
            return item;
        }
        let item = self.fresh(random);
        self.chain = Some((item, self.hotness.chain_length - 1));
        item
    }

    fn fresh(&self, random: &mut RandomSource) -> usize {
        if self.hotness.hot_share > 0.0 && random.unit() < self.hotness.hot_share {
            return random.below(self.hotness.hot_items);
        }
        let Some(total) = self.sums.last() else {
            return random.below(self.items);
        };
        let point = random.unit() * total;
        self.sums
            .partition_point(|sum| *sum <= point)
            .min(self.items - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Hotness, Picker, RandomSource};

    fn shares(hotness: Hotness) -> Vec<usize> {
        let mut picker = Picker::new(10, hotness).expect("sound");
        let mut random = RandomSource::new(1);
        let mut counts = vec![0; 10];
        for _ in 0..10_000 {
            counts[picker.pick(&mut random)] += 1;
        }
        counts
    }

    #[test]
    fn a_seed_decides_the_numbers() {
        // The reference implementation's first outputs from seed 0.
        let mut random = RandomSource::new(0);
        assert_eq!(random.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn choices_are_uniform_without_hotness() {
        let counts = shares(Hotness::default());
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_hot_set_gets_its_share() {
        let counts = shares(Hotness {
            hot_share: 0.8,
            hot_items: 2,
            ..Hotness::default()
        });
        // 80 % directly, and a fifth of the remaining 20 %.
        let hot = counts[0] + counts[1];
        assert!((8_200..8_600).contains(&hot), "{counts:?}");
    }

    #[test]
    fn zipf_weights_fall_with_the_rank() {
        let counts = shares(Hotness {
            zipf: 1.0,
            ..Hotness::default()
        });
        // The tenth harmonic number is 2.929: the first gets 34 %, the second 17 %.
        assert!((3_250..3_600).contains(&counts[0]), "{counts:?}");
        assert!((1_550..1_900).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn a_chain_stays_with_its_item() {
        let mut picker = Picker::new(
            1000,
            Hotness {
                chain_length: 5,
                ..Hotness::default()
            },
        )
        .expect("sound");
        let mut random = RandomSource::new(3);
        let picks: Vec<usize> = (0..50).map(|_| picker.pick(&mut random)).collect();
        assert!(
            picks
                .chunks(5)
                .all(|chain| chain.iter().all(|pick| *pick == chain[0]))
        );
        assert!(picks.chunks(5).any(|chain| chain[0] != picks[0]));
    }

    #[test]
    fn invalid_options_are_rejected() {
        let wrong = |items, change: fn(&mut Hotness)| {
            let mut hotness = Hotness::default();
            change(&mut hotness);
            assert!(Picker::new(items, hotness).is_err());
        };
        wrong(0, |_| ());
        wrong(5, |hotness| hotness.hot_share = 1.5);
        wrong(5, |hotness| hotness.hot_items = 6);
        wrong(5, |hotness| hotness.zipf = f64::NAN);
        wrong(5, |hotness| hotness.chain_length = 0);
    }
}
