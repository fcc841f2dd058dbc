//! `K=64,V=64`: sizes by name, as the command line takes them.

use crate::failure::Failure;
use baton_codegen::schedule::cost::RunShape;
use baton_ir::recurrence::{Port, Recurrence};

/// Sizes by name, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape(Vec<(String, usize)>);

impl Shape {
    /// The size of a name, if it was given.
    pub fn get(&self, name: &str) -> Option<usize> {
        (self.0.iter()).find_map(|(known, size)| (known == name).then_some(*size))
    }

    /// Fails when --shape was given a name that is not among `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), Failure> {
        self.only_of("--shape", known)
    }

    /// The same of another option.
    pub fn only_of(&self, option: &str, known: &[&str]) -> Result<(), Failure> {
        match self
            .0
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            Some((name, size)) => Err(Failure::new(format!(
                "{option} gives {name}={size}, but the names here are {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// The sizes of a recurrence's dims, and the extents of a run of it, from given states.
    pub fn run(&self, recurrence: &Recurrence) -> Result<(Vec<usize>, RunShape), Failure> {
        let dims = recurrence.dims.iter().map(String::as_str);
        let names: Vec<&str> = ["B", "T", "H", "G"].into_iter().chain(dims).collect();
        self.only(&names)?;
        let need = |name: &str| {
            self.get(name).ok_or_else(|| {
                Failure::new(format!(
                    "--shape does not give {name}; expected {}",
                    names.join(", ")
                ))
            })
        };
        let (time, heads) = (need("T")?, need("H")?);
        let shared = recurrence.inputs.iter().any(|port| port.per_group);
        let groups = match self.get("G").unwrap_or(1) {
            1 if !shared => heads,
            groups if shared && heads % groups == 0 => groups,
            groups if shared => {
                return Err(Failure::new(format!(
                    "--shape gives G={groups} groups for H={heads} heads, expected a divisor of H"
                )));
            }
            groups => {
                return Err(Failure::new(format!(
                    "--shape gives G={groups}, but no input of `{}` is per group",
                    recurrence.name
                )));
            }
        };
        let sizes = recurrence.dims.iter().map(|dim| need(dim));
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
        let batch = self.get("B").unwrap_or(1);
        let fits = |outer: &[usize], port: &Port| {
            let inner = port.shape.iter().map(|dim| sizes[dim.index()]);
            let mut all = outer.iter().copied().chain(inner);
            let bytes = all.try_fold(size_of::<f32>(), usize::checked_mul);
            bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok())
        };
        let mut along = recurrence.inputs.iter().chain(&recurrence.outputs);
        let mut beside = recurrence.params.iter().chain(&recurrence.states);
        if !along.all(|port| fits(&[batch, time, heads], port))
            || !beside.all(|port| fits(&[batch, heads], port))
        {
            let given = self.0.iter().map(|(name, size)| format!("{name}={size}"));
            return Err(Failure::new(format!(
                "--shape {} given, whose tensors are larger than any memory, expected smaller sizes",
                given.collect::<Vec<_>>().join(",")
            )));
        }
        Ok((
            sizes,
            RunShape {
                batch,
                time,
                heads,
                groups,
                entering: true,
            },
        ))
    }
}

impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shape = Shape::default();
        for entry in text.split(',') {
            let (name, size) = (entry.split_once('='))
                .ok_or_else(|| format!("`{entry}` is not of the form NAME=SIZE"))?;
            let (name, size) = (name.trim(), size.trim());
            let size = (size.parse::<u32>().ok().filter(|size| *size > 0)).ok_or_else(|| {
                let most = u32::MAX;
                format!("`{size}` for {name} is no size, expected a whole number from 1 to {most}")
            })?;
            if shape.get(name).is_some() {
                return Err(format!("{name} is given twice"));
            }
            shape.0.push((name.into(), size as usize));
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn parses_names_and_sizes() {
        let shape: Shape = "B=1, T=2048,K=64".parse().unwrap();
        assert_eq!(
            [
                shape.get("B"),
                shape.get("T"),
                shape.get("K"),
                shape.get("V")
            ],
            [Some(1), Some(2048), Some(64), None]
        );
        assert!(shape.only(&["B", "T", "K"]).is_ok());
        assert!(shape.only(&["B", "T"]).is_err());
    }

    #[test]
    fn refuses_what_is_no_size() {
        for (text, part) in [
            ("K", "NAME=SIZE"),
            ("K=0", "`0`"),
            ("K=-3", "`-3`"),
            ("K=x", "`x`"),
            ("T=99999999999", "from 1 to 4294967295"),
            ("K=1,K=2", "twice"),
            ("", "NAME=SIZE"),
        ] {
            let error = text.parse::<Shape>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
