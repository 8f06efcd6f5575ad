use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use super::*;

/// A tree that looks like `/sys` and goes away with it.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tree = Self(std::env::temp_dir().join(format!("fewbit-energy-{}-{number}", std::process::id())));
        fs::create_dir_all(&tree.0).unwrap();
        for (file, content) in files {
            tree.write(file, content);
        }
        tree
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.0.join("class").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn meter(&self) -> Result<Meter, NoMeter> {
        Meter::open_under(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const RAPL: &[(&str, &str)] = &[
    ("powercap/intel-rapl/enabled", "1\n"),
    ("powercap/intel-rapl:0/name", "package-0\n"),
    ("powercap/intel-rapl:0/energy_uj", "999000\n"),
    ("powercap/intel-rapl:0/max_energy_range_uj", "1000000\n"),
    ("powercap/intel-rapl:0:0/name", "core\n"),
    ("powercap/intel-rapl:0:0/energy_uj", "500\n"),
    ("powercap/intel-rapl:1/name", "psys\n"),
    ("powercap/intel-rapl:1/energy_uj", "7\n"),
    ("powercap/intel-rapl-mmio:0/name", "package-0\n"),
    ("powercap/intel-rapl-mmio:0/energy_uj", "3\n"),
];

#[test]
fn the_package_is_counted_once_and_across_the_wrap() {
    let tree = Tree::new(RAPL);
    let meter = tree.meter().unwrap();
    assert_eq!(meter.description(), "powercap counter of package-0 (whole processor package)");
    let measurement = meter.start().unwrap();
    tree.write("powercap/intel-rapl:0/energy_uj", "999600\n");
    assert_eq!(measurement.joules().unwrap(), 0.0006);
    tree.write("powercap/intel-rapl:0/energy_uj", "400\n");
    assert_eq!(measurement.joules().unwrap(), 0.0014);
    tree.write("powercap/intel-rapl:0:0/energy_uj", "900000\n");
    assert_eq!(measurement.joules().unwrap(), 0.0014, "a part of the package is not counted again");
}

#[test]
fn two_packages_are_added_up() {
    let tree = Tree::new(&[
        ("powercap/intel-rapl:0/name", "package-0"),
        ("powercap/intel-rapl:0/energy_uj", "10"),
        ("powercap/intel-rapl:1/name", "package-1"),
        ("powercap/intel-rapl:1/energy_uj", "20"),
    ]);
    let measurement = tree.meter().unwrap().start().unwrap();
    tree.write("powercap/intel-rapl:0/energy_uj", "1000010");
    tree.write("powercap/intel-rapl:1/energy_uj", "2000020");
    assert_eq!(measurement.joules().unwrap(), 3.0);
}

#[test]
fn a_counter_that_goes_back_without_a_range_is_no_figure() {
    let tree = Tree::new(&[("hwmon/hwmon0/name", "amd_energy"), ("hwmon/hwmon0/energy1_input", "500")]);
    let meter = tree.meter().unwrap();
    assert_eq!(meter.description(), "hwmon energy counter of amd_energy energy1");
    let measurement = meter.start().unwrap();
    tree.write("hwmon/hwmon0/energy1_input", "400");
    let error = measurement.joules().unwrap_err().to_string();
    assert!(error.contains("from 500 to 400"), "{error}");
    tree.write("hwmon/hwmon0/energy1_input", "900");
    assert!(measurement.joules().is_err(), "a failure is not forgotten");
}

#[test]
fn power_is_integrated_over_time() {
    let tree = Tree::new(&[
        ("hwmon/hwmon0/name", "coretemp"),
        ("hwmon/hwmon0/temp1_input", "40000"),
        ("hwmon/hwmon1/name", "ina226"),
        ("hwmon/hwmon1/power1_input", "2000000"),
        ("hwmon/hwmon1/power1_label", "VDD_CPU"),
        ("hwmon/hwmon1/power1_crit", "9"),
    ]);
    let meter = tree.meter().unwrap();
    assert!(meter.description().starts_with("hwmon power of ina226 VDD_CPU"), "{}", meter.description());
    let start = Instant::now();
    let measurement = meter.start().unwrap();
    let inner = Instant::now();
    std::thread::sleep(Duration::from_millis(50));
    let least = inner.elapsed().as_secs_f64();
    let joules = measurement.joules().unwrap();
    let most = start.elapsed().as_secs_f64();
    assert!(joules >= 2.0 * least && joules <= 2.0 * most, "{least} s, {joules} J, {most} s");
}

#[test]
fn the_sum_of_a_boards_rails_is_taken_alone() {
    let tree = Tree::new(&[
        ("hwmon/hwmon0/name", "ina3221"),
        ("hwmon/hwmon0/power1_input", "5000000"),
        ("hwmon/hwmon0/power1_label", "VDD_IN"),
        ("hwmon/hwmon0/power2_input", "2000000"),
        ("hwmon/hwmon0/power2_label", "VDD_CPU_GPU_CV"),
    ]);
    let description = tree.meter().unwrap().description().to_owned();
    assert!(description.contains("VDD_IN") && !description.contains("VDD_CPU"), "{description}");
}

#[test]
fn what_cannot_be_read_is_named() {
    let tree = Tree::new(&[]);
    let error = tree.meter().unwrap_err().to_string();
    assert!(error.contains("neither powercap counters nor hwmon sensors"), "{error}");
    for garbage in ["", "-5\n", "12 joules\n", "99999999999999999999999\n", "\u{1b}[2J"] {
        let tree = Tree::new(&[("powercap/intel-rapl:0/energy_uj", garbage)]);
        let error = tree.meter().unwrap_err().to_string();
        assert!(error.contains("energy_uj") && error.contains("not a number"), "{error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    // A folder in place of the file cannot be read by anyone, not even by root.
    let tree = Tree::new(&[("powercap/intel-rapl:0/energy_uj/nothing", "")]);
    let error = tree.meter().unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn a_counter_that_vanishes_or_turns_to_garbage_is_no_figure() {
    let tree = Tree::new(RAPL);
    let measurement = tree.meter().unwrap().start().unwrap();
    tree.write("powercap/intel-rapl:0/energy_uj", "soon\n");
    assert!(measurement.joules().unwrap_err().to_string().contains("\"soon\""));
    let tree = Tree::new(RAPL);
    let measurement = tree.meter().unwrap().start().unwrap();
    fs::remove_file(tree.0.join("class/powercap/intel-rapl:0/energy_uj")).unwrap();
    assert!(measurement.joules().is_err());
}

#[test]
fn differences_follow_the_range() {
    assert_eq!(spent(5, 9, None), Some(4));
    assert_eq!(spent(9, 5, None), None);
    assert_eq!(spent(9, 5, Some(10)), Some(6));
    assert_eq!(spent(9, 5, Some(8)), None, "a range below what was read");
    assert_eq!(spent(2, 1, Some(u64::MAX)), Some(u64::MAX - 1));
}

#[test]
fn this_machine_has_a_meter_or_a_reason() {
    match Meter::open() {
        Ok(meter) => {
            assert!(!meter.description().is_empty());
            let measurement = meter.start().unwrap();
            std::thread::sleep(Duration::from_millis(20));
            assert!(measurement.joules().unwrap() >= 0.0);
        }
        Err(reason) => {
            fewbit_testing::report_skip(&format!("no energy of this machine is read because {reason}"));
            assert!(!reason.to_string().is_empty());
        }
    }
}
