use std::path::PathBuf;

use image::{Rgb, RgbImage};

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fewbit-dataset-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn input(extents: &[usize]) -> InputSpec {
    InputSpec { name: "x".to_owned(), dtype: DType::F32, extents: extents.to_vec() }
}

#[test]
fn pictures_become_normalised_planes_in_the_order_of_the_labels() {
    let folder = Folder::new("planes");
    let mut picture = RgbImage::from_pixel(4, 2, Rgb([0, 127, 255]));
    picture.put_pixel(1, 0, Rgb([10, 20, 30]));
    picture.save(folder.0.join("b.png")).unwrap();
    picture.save(folder.0.join("a.png")).unwrap();
    std::fs::write(folder.0.join("labels.csv"), "file,label\nb.png,5\na.png,6\n").unwrap();
    let preprocess: Preprocess = "mean=127.5,std=127.5".parse().unwrap();
    let data = Dataset::open(&folder.0, &[input(&[1, 3, 2, 4])], preprocess).unwrap();
    assert_eq!(data.len(), 2);
    let sample = data.sample(0).unwrap();
    assert_eq!((sample.label, sample.name.as_str()), (Some(5), "b.png"));
    let x = sample.inputs[0].as_slice::<f32>().unwrap();
    assert_eq!(x[0], -1.0);
    assert_eq!(x[1], (10.0 - 127.5) / 127.5);
    assert_eq!(x[8 + 1], (20.0 - 127.5) / 127.5);
    assert_eq!(x[16 + 7], 1.0);
}

#[test]
fn channels_last_and_bgr_are_honoured() {
    let folder = Folder::new("bgr");
    RgbImage::from_pixel(2, 2, Rgb([1, 2, 3])).save(folder.0.join("a.png")).unwrap();
    let data = Dataset::open(&folder.0, &[input(&[1, 2, 2, 3])], "channels=bgr".parse().unwrap()).unwrap();
    assert_eq!(data.sample(0).unwrap().inputs[0].as_slice::<f32>().unwrap()[..3], [3.0, 2.0, 1.0]);
    assert!(!data.has_labels());
}

#[test]
fn resize_keeps_the_aspect_and_crop_takes_the_centre() {
    let folder = Folder::new("crop");
    let mut picture = RgbImage::new(40, 20);
    for (x, _, pixel) in picture.enumerate_pixels_mut() {
        *pixel = if (10..30).contains(&x) { Rgb([200, 200, 200]) } else { Rgb([0, 0, 0]) };
    }
    picture.save(folder.0.join("a.png")).unwrap();
    let data =
        Dataset::open(&folder.0, &[input(&[1, 3, 10, 10])], "resize=10,crop=10".parse().unwrap()).unwrap();
    let sample = data.sample(0).unwrap();
    let x = sample.inputs[0].as_slice::<f32>().unwrap();
    assert_eq!(x[5 * 10 + 5], 200.0, "the centre is bright");
    assert!(x[..100].iter().filter(|&&value| value > 100.0).count() >= 90, "the dark sides are cut off");
}

#[test]
fn arrays_are_cut_along_the_first_axis() {
    let folder = Folder::new("arrays");
    let array = Tensor::from_slice(&[3, 2], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    std::fs::write(folder.0.join("x.npy"), encode_npy(&array).unwrap()).unwrap();
    let data = Dataset::open(&folder.0, &[input(&[1, 2])], Preprocess::default()).unwrap();
    assert_eq!(data.len(), 3);
    assert_eq!(data.sample(2).unwrap().inputs[0].as_slice::<f32>().unwrap(), &[5.0, 6.0]);
    let single = Dataset::open(&folder.0.join("x.npy"), &[input(&[3, 2])], Preprocess::default()).unwrap();
    assert_eq!(single.len(), 1);
    let error = Dataset::open(&folder.0, &[input(&[1, 5])], Preprocess::default()).unwrap_err();
    assert_eq!(error.kind(), CalibrateErrorKind::Dataset);
}

#[test]
fn empty_folders_and_broken_pictures_name_the_file() {
    let folder = Folder::new("broken");
    let error = Dataset::open(&folder.0, &[input(&[1, 3, 2, 2])], Preprocess::default()).unwrap_err();
    assert_eq!(error.kind(), CalibrateErrorKind::Dataset);
    std::fs::write(folder.0.join("a.png"), b"not a picture").unwrap();
    let data = Dataset::open(&folder.0, &[input(&[1, 3, 2, 2])], Preprocess::default()).unwrap();
    let error = data.sample(0).unwrap_err();
    assert!(error.to_string().contains("a.png"), "{error}");
    assert!(error.remedy().is_some());
}

#[test]
fn preprocessing_text_round_trips_and_refuses_nonsense() {
    for text in [
        "resize=256,crop=224,mean=127.5,std=127.5,layout=nchw",
        "resize=32x48,mean=1:2:3,std=4:5:6,channels=bgr",
        "",
    ] {
        let parsed: Preprocess = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
    }
    for text in ["resize=0", "crop=x", "mean=a", "std=0", "colour=red", "resize"] {
        assert!(text.parse::<Preprocess>().is_err(), "{text}");
    }
}
