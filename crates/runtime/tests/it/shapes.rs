//! One compiled form per shape, and no more of them than asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fewbit_backend_cpu::CpuBackend;
use fewbit_core::CoreErrorKind;
use fewbit_core::backend::{Backend, CompileOptions, Device, DeviceInfo, Executable};
use fewbit_core::capability::{Capability, Verdict};
use fewbit_core::error::Result;
use fewbit_core::ir::{DType, Dim, Graph, Op, Shape, Tensor, UnaryOp};
use fewbit_core::reference::Interpreter;
use fewbit_runtime::ShapeSessions;

/// The CPU, counting what it compiles.
struct Counting(Arc<dyn Device>, AtomicUsize);

impl Device for Counting {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }

    fn capabilities(&self) -> Result<Capability> {
        self.0.capabilities()
    }

    fn supports(&self, program: &Graph) -> Result<Vec<Verdict>> {
        self.0.supports(program)
    }

    fn compile(&self, program: &Graph, options: &CompileOptions) -> Result<Arc<dyn Executable>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.compile(program, options)
    }
}

/// `softmax(relu(x))` over rows, whose number and length are free.
fn model() -> Graph {
    let mut graph = Graph::new("rows");
    let symbol = |name: &str| Dim::Symbol(name.to_owned());
    let x = graph.add_input("x", DType::F32, Shape(vec![symbol("rows"), symbol("columns")]));
    let relu = graph.add_op("relu", Op::Unary(UnaryOp::Relu), &[x]);
    let y = graph.add_op("y", Op::Softmax { axis: 1, log: false }, &[relu]);
    graph.outputs.push(y);
    fewbit_core::infer::infer(&mut graph).unwrap();
    graph
}

fn rows(rows: usize, columns: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * columns).map(|at| (at as f32 * 0.7).sin()).collect();
    Tensor::from_slice(&[rows, columns], &values).unwrap()
}

fn sessions(capacity: usize) -> (ShapeSessions, Arc<Counting>) {
    let device = Arc::new(Counting(CpuBackend::new().devices().unwrap().swap_remove(0), AtomicUsize::new(0)));
    let shared: Arc<dyn Device> = device.clone();
    (ShapeSessions::new(model(), shared, CompileOptions::threads(1), capacity), device)
}

#[test]
fn a_shape_that_comes_back_is_not_compiled_again() {
    let (sessions, device) = sessions(2);
    for (shape, compiled) in [((2, 3), 1), ((5, 8), 2), ((2, 3), 2), ((5, 8), 2)] {
        let input = rows(shape.0, shape.1);
        let outputs = sessions.run(std::slice::from_ref(&input)).unwrap();
        let mut fixed = model();
        fewbit_core::infer::fix_input(&mut fixed, "x", input.extents()).unwrap();
        let expected = Interpreter::new(&fixed).unwrap().run(&[input]).unwrap();
        fewbit_testing::assert_close(&outputs[0].to_f32_vec(), &expected[0].to_f32_vec(), 1e-6);
        assert_eq!(device.1.load(Ordering::Relaxed), compiled, "{shape:?}");
    }
    // A third shape puts out the one used longest ago, 2 x 3, and only that.
    sessions.run(&[rows(1, 1)]).unwrap();
    assert_eq!(sessions.forms(), 2);
    sessions.run(&[rows(5, 8)]).unwrap();
    assert_eq!(device.1.load(Ordering::Relaxed), 3);
    sessions.run(&[rows(2, 3)]).unwrap();
    assert_eq!(device.1.load(Ordering::Relaxed), 4);
}

#[test]
fn threads_that_need_one_form_compile_it_once() {
    let (sessions, device) = sessions(4);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| sessions.run(&[rows(7, 9)]).unwrap());
        }
    });
    assert_eq!(device.1.load(Ordering::Relaxed), 1);
}

#[test]
fn what_does_not_fit_is_refused_and_not_kept() {
    let (sessions, device) = sessions(4);
    let rank = Tensor::zeros(DType::F32, &[2, 3, 4]).unwrap();
    assert_eq!(sessions.run(&[rank]).unwrap_err().kind(), CoreErrorKind::Shape);
    assert_eq!(sessions.run(&[]).unwrap_err().kind(), CoreErrorKind::Tensor);
    assert_eq!((sessions.forms(), device.1.load(Ordering::Relaxed)), (0, 0));
}
