//! One register of a warp is 32 lanes of 64 bits; pointwise instructions are functions over whole lanes.
//!
//! A register narrower than 64 bits keeps its upper bits zero. The macros make plain functions, so that an
//! instruction is a pointer and the compiler sees a loop of 32 rounds that it can vectorise.

/// One register across a warp.
pub(crate) type Lanes = [u64; 32];

/// A function of one register.
pub(crate) type Map1 = fn(&Lanes, &mut Lanes);
/// A function of two registers.
pub(crate) type Map2 = fn(&Lanes, &Lanes, &mut Lanes);
/// A function of three registers.
pub(crate) type Map3 = fn(&Lanes, &Lanes, &Lanes, &mut Lanes);

/// A Rust type as the low bits of a register.
pub(crate) trait Word: Copy {
    fn take(bits: u64) -> Self;
    fn give(self) -> u64;
}

macro_rules! integer_word {
    ($($ty:ty as $unsigned:ty),*) => {$(
        impl Word for $ty {
            fn take(bits: u64) -> Self {
                bits as $ty
            }
            fn give(self) -> u64 {
                self as $unsigned as u64
            }
        }
    )*};
}

integer_word!(
    u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64
);

impl Word for f32 {
    fn take(bits: u64) -> Self {
        f32::from_bits(bits as u32)
    }
    fn give(self) -> u64 {
        // NVIDIA's NaN is canonical.
        u64::from(if self.is_nan() {
            0x7fff_ffff
        } else {
            self.to_bits()
        })
    }
}

impl Word for f64 {
    fn take(bits: u64) -> Self {
        f64::from_bits(bits)
    }
    fn give(self) -> u64 {
        self.to_bits()
    }
}

impl Word for bool {
    fn take(bits: u64) -> Self {
        bits & 1 == 1
    }
    fn give(self) -> u64 {
        u64::from(self)
    }
}

macro_rules! map1 {
    ($ta:ty => |$a:ident| $e:expr) => {{
        fn run(a: &$crate::lanes::Lanes, d: &mut $crate::lanes::Lanes) {
            for i in 0..32 {
                let $a = <$ta as $crate::lanes::Word>::take(a[i]);
                d[i] = $crate::lanes::Word::give($e);
            }
        }
        run as $crate::lanes::Map1
    }};
}

macro_rules! map2 {
    ($ta:ty, $tb:ty => |$a:ident, $b:ident| $e:expr) => {{
        fn run(a: &$crate::lanes::Lanes, b: &$crate::lanes::Lanes, d: &mut $crate::lanes::Lanes) {
            for i in 0..32 {
                let $a = <$ta as $crate::lanes::Word>::take(a[i]);
                let $b = <$tb as $crate::lanes::Word>::take(b[i]);
                d[i] = $crate::lanes::Word::give($e);
            }
        }
        run as $crate::lanes::Map2
    }};
}

macro_rules! map3 {
    ($ta:ty, $tb:ty, $tc:ty => |$a:ident, $b:ident, $c:ident| $e:expr) => {{
        fn run(
            a: &$crate::lanes::Lanes,
            b: &$crate::lanes::Lanes,
            c: &$crate::lanes::Lanes,
            d: &mut $crate::lanes::Lanes,
        ) {
            for i in 0..32 {
                let $a = <$ta as $crate::lanes::Word>::take(a[i]);
                let $b = <$tb as $crate::lanes::Word>::take(b[i]);
                let $c = <$tc as $crate::lanes::Word>::take(c[i]);
                d[i] = $crate::lanes::Word::give($e);
            }
        }
        run as $crate::lanes::Map3
    }};
}

/// Chooses by a PTX type; `T` is the Rust type within the expression.
macro_rules! by_type {
    ($ty:expr, [$($variant:ident => $rust:ty),+ $(,)?], $make:expr) => {
        match $ty {
            $($crate::types::Type::$variant => {
                #[allow(dead_code)]
                type T = $rust;
                Some($make)
            })+
            _ => None,
        }
    };
}

pub(crate) use {by_type, map1, map2, map3};
