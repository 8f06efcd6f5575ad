//! Recurrent layers: one cell applied step by step along a sequence.
//!
//! Owns [`Recurrent`] with its attributes, and what the rest of the IR asks about it: name, arity, text form.

use super::UnaryOp;

/// The cell of a recurrent layer; its gates in ONNX's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cell {
    /// `h = f(x Wᵀ + h Rᵀ + b)`.
    Rnn,
    /// Gates `z r h`: `z = f(…)`, `r = f(…)`, `n = g(x Wᵀ + (r ∘ h) Rᵀ + b)`, `h = (1 - z) ∘ n + z ∘ h`.
    Gru {
        /// Whether `r` multiplies `h Rᵀ + b` instead of `h`.
        linear_before_reset: bool,
    },
    /// Gates `i o f c`: `c = f ∘ c + i ∘ g(…)`, `h = o ∘ h(c)`, with optional peepholes from `c` to the gates.
    Lstm {
        /// Whether the forget gate is one less the input gate.
        input_forget: bool,
    },
}

impl Cell {
    /// Gates that weights have rows for.
    pub fn gates(self) -> usize {
        match self {
            Cell::Rnn => 1,
            Cell::Gru { .. } => 3,
            Cell::Lstm { .. } => 4,
        }
    }

    /// Functions of each direction: `f`, then `g`, then `h`.
    pub fn functions(self) -> &'static [UnaryOp] {
        match self {
            Cell::Rnn => &[UnaryOp::Tanh],
            Cell::Gru { .. } => &[UnaryOp::Sigmoid, UnaryOp::Tanh],
            Cell::Lstm { .. } => &[UnaryOp::Sigmoid, UnaryOp::Tanh, UnaryOp::Tanh],
        }
    }
}

/// In which order steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Direction {
    /// From the first step to the last.
    #[default]
    Forward,
    /// From the last step to the first.
    Reverse,
    /// Both, each with weights of its own.
    Both,
}

impl Direction {
    /// How many directions it is.
    pub fn count(self) -> usize {
        if self == Direction::Both { 2 } else { 1 }
    }

    /// ONNX's name.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Reverse => "reverse",
            Direction::Both => "bidirectional",
        }
    }
}

/// A recurrent layer. `[x TBI, w DGI, r DGH, b? D(2G), lengths? B, h? DBH, c? DBH, peepholes? D(3H)]`, the last two of an
/// LSTM only; outputs `[y TDBH, h DBH]`, and `c DBH` of an LSTM.
///
/// T steps, B samples, I inputs, D directions, H hidden elements; G gates × H rows, bias of `w` before that of `r`.
/// With [`batch_first`](Self::batch_first) samples come first everywhere: `x BTI`, `y BTDH`, states `BDH`. Steps beyond
/// a sample's length are zeros in `y` and leave its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    /// The cell.
    pub cell: Cell,
    /// The order of steps.
    pub direction: Direction,
    /// Elements of the state.
    pub hidden: usize,
    /// Functions, those of each direction one behind the other; as many as [`Cell::functions`] each.
    pub functions: Vec<UnaryOp>,
    /// Bound of what enters the functions `f` and `g`, where there is one.
    pub clip: Option<f32>,
    /// Whether the samples' axis comes before that of steps.
    pub batch_first: bool,
}

impl Recurrent {
    /// ONNX's name.
    pub fn name(&self) -> &'static str {
        match self.cell {
            Cell::Rnn => "RNN",
            Cell::Gru { .. } => "GRU",
            Cell::Lstm { .. } => "LSTM",
        }
    }

    /// The inputs that must be present, the most inputs, and the number of outputs.
    pub fn arity(&self) -> (usize, usize, usize) {
        match self.cell {
            Cell::Lstm { .. } => (3, 8, 3),
            _ => (3, 6, 2),
        }
    }

    /// Whether the functions are those that a file need not name.
    pub fn has_usual_functions(&self) -> bool {
        self.functions.chunks(self.cell.functions().len()).all(|own| own == self.cell.functions())
    }

    /// The attributes that say something, for the text form.
    pub(super) fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut list =
            vec![("hidden", self.hidden.to_string()), ("direction", self.direction.name().to_owned())];
        match self.cell {
            Cell::Gru { linear_before_reset: true } => list.push(("linear_before_reset", "true".to_owned())),
            Cell::Lstm { input_forget: true } => list.push(("input_forget", "true".to_owned())),
            _ => {}
        }
        if !self.has_usual_functions() {
            let names: Vec<String> = self.functions.iter().map(|function| format!("{function:?}")).collect();
            list.push(("functions", format!("[{}]", names.join(", "))));
        }
        if let Some(clip) = self.clip {
            list.push(("clip", clip.to_string()));
        }
        if self.batch_first {
            list.push(("batch_first", "true".to_owned()));
        }
        list
    }
}
