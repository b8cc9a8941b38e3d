// Types of the service's answers and of values that several modules share. For the type checker; never loaded.

export type HeatmapCurve = "linear" | "square-root";

export interface HeatmapReport {
  png: string;
  width: number;
  height: number;
  max: number;
  scale: number;
  curve?: HeatmapCurve;
  /** Of raw values: nats of −log(1 − probability). */
  unit?: "nats";
}

export interface ScaleReport {
  size: number;
  logit: number | null;
  probability: number | null;
  weight: number;
  heatmap: HeatmapReport | null;
}

/** One finding of one image. Probability and threshold are null if no network of the bundle knows it. */
export interface FindingReport {
  finding: string;
  probability: number | null;
  threshold: number | null;
  positive: boolean;
  score?: number | null;
  score_threshold?: number | null;
  calibration?: string | null;
  decision?: string | null;
  scales: ScaleReport[];
  heatmap: HeatmapReport | null;
}

/** A line of the list of findings: of an image, or of the study. */
export type FindingRow = Pick<FindingReport, "finding" | "probability" | "threshold" | "positive"> & {
  /** In a study: the position of the image with the largest probability. */
  decidedBy?: number | null;
};

export interface ImageWarning {
  code: string;
  message: string;
}

/** The answer of POST /predict. */
export interface Answer {
  model: { name: string; version: string; sha256: string };
  image: {
    rows: number;
    columns: number;
    format: string;
    photometric_interpretation: string;
    profile: string;
    applied: string[];
    study_instance_uid: string | null;
  };
  findings: FindingReport[];
  warnings: ImageWarning[];
  timing_ms: Record<string, number>;
}

/** The header of the answer of POST /display. */
export interface DisplayHeader {
  about: {
    format: string;
    rows: number;
    columns: number;
    photometric_interpretation: string;
    bits_stored: number;
    view_position: string | null;
    /** Between rows, between columns, of the picture as it is shown. */
    spacing_mm?: [number, number] | null;
  };
  sample: "uint8" | "uint16";
  offset: number;
  lowest: number;
  highest: number;
  slope: number;
  intercept: number;
  white_is_low: boolean;
  aspect: number;
  /** The spacing is in the patient, else at the detector. */
  is_calibrated?: boolean;
  windows: {
    label: string | null;
    centre: number;
    width: number;
    function: WindowFunction;
  }[];
  tables: { kind: "file" | "network"; label: string | null }[];
  orientation: [string, string] | null;
  laterality: string | null;
  patient: {
    name: string | null;
    id: string | null;
    birth_date: string | null;
    sex: string | null;
  } | null;
  study_date: string | null;
  study_description: string | null;
  warnings: ImageWarning[];
}

export type WindowFunction = "LINEAR" | "LINEAR_EXACT" | "SIGMOID";

export interface OperatingPoint {
  threshold: number;
  sensitivity: number | null;
  specificity: number | null;
  chosen_for: string;
  data: string;
  events?: number | null;
  non_events?: number | null;
  curve?: ThresholdCounts | null;
}

/** Units at or above each threshold: with the finding, and without it. */
export interface ThresholdCounts {
  thresholds: number[];
  true_positives: number[];
  false_positives: number[];
}

/** p = σ(slope · logit(score) + intercept), or the score itself. */
export interface Calibration {
  method: "identity" | "logistic" | "beta";
  slope: number;
  slope_high?: number | null;
  intercept: number;
}

export interface Member {
  size: number;
  architecture: string;
  parameters: number;
  normalisation: string;
  variants?: { precision: string }[];
  sha256: string;
}

/** The answer of GET /model. */
export interface Interval {
  value: number;
  low: number | null;
  high: number | null;
}

/** A finding in the bundle's `report.json`. */
export interface EvaluatedFinding {
  name: string;
  threshold: number | null;
  calibration: {
    ece: number;
    probability_B: number[];
    frequency_B: number[];
    count_B: number[];
    low_B?: number[];
    high_B?: number[];
  };
  decisions?: {
    threshold_T: number[];
    value_T: number[];
    low_T: number[];
    high_T: number[];
    all_T: number[];
  } | null;
}

/** The bundle's `report.json`. */
export interface Evaluation {
  sha256: string;
  count: number;
  unit: string;
  data: string;
  findings: EvaluatedFinding[];
  film_check?: {
    groups: { by: string; group: string; images: number; refused: Interval; uneven?: boolean }[];
  } | null;
}

export interface AdoptedSite {
  name: string;
  version: number;
  sha256: string;
  created: string;
  note: string;
  previous: string | null;
  evidence: {
    finding: string;
    adopted: boolean;
    why: string;
    log_loss_before: number | null;
    log_loss_after: number | null;
  }[];
}

export interface Model {
  site?: AdoptedSite | null;
  name: string;
  version: string;
  sha256: string;
  intended_use: string;
  limits: string[];
  report: string | null;
  findings: string[];
  unavailable?: string[];
  stack: number[][];
  study_rule: "maximum" | "mean";
  members: Member[];
  metrics: {
    auc: Record<string, Record<string, number | null>>;
    data: string;
    images: number;
  } | null;
  operating_points: Record<string, OperatingPoint>;
  study_operating_points?: Record<string, OperatingPoint>;
  calibration: "identity" | Record<string, Calibration>;
  study_calibration?: Record<string, Calibration>;
  heatmap_scale: number;
  heatmap_scales?: Record<string, number>;
  tolerance: Record<string, number>;
  lineage: {
    recipe: string;
    code_version: string;
    created: string;
    data: string;
    data_sha256: string | null;
    split_sha256: string | null;
  };
  preprocessing: {
    profile: string;
    sizes: number[];
    fit: string;
    filter: string;
  };
  engine: { name: string; version: string; precision: string; reason: string };
}

/** A study of the worklist. */
export interface StudySummary {
  study_instance_uid: string;
  patient_name: string;
  patient_id: string;
  study_date: string;
  description: string;
  modality: string;
  state: string;
  priority: string;
  images: number;
  received: number;
  changed: number;
  positive: string[] | null;
  /** True if it was fetched because a study of the patient asks for priors. */
  prior: boolean;
}

/** A reader's label of a finding of a study. */
export interface Label {
  number: number;
  finding: string;
  label: "present" | "absent" | "unsure" | "withdrawn";
  verdict: "agrees" | "disagrees" | null;
  reader: string;
  /** Seconds since 1970. */
  given: number;
  decision: string | null;
}

/** The answer of GET and POST /studies/STUDY/labels. */
export interface StudyLabels {
  current: Label[];
  history: Label[];
  /** The service's decision on each finding of the study now. */
  decisions: Record<string, string>;
}

/** An image that a person has to decide on, with the patient and order that it names and those of its stored study. */
export interface QuarantinedObject {
  sha256: string;
  sop_instance_uid: string;
  /** Of the stored study; empty if there is none. */
  study_instance_uid: string;
  reason: "other-patient" | "other-content";
  /** Seconds since 1970. */
  received: number;
  calling_ae: string;
  patient_id: string;
  patient_name: string;
  patient_id_issuer: string;
  birth_date: string;
  sex: string;
  accession_number: string;
  study_patient_id: string;
  study_patient_name: string;
  study_patient_id_issuer: string;
  study_birth_date: string;
  study_sex: string;
  study_accession_number: string;
  decisions: ("release" | "move" | "drop")[];
  may_decide: boolean;
}

/** An image of a study of the worklist. */
export interface StudyImage {
  sop_instance_uid: string;
  state: string;
}

/** A size in device pixels. */
export interface Size {
  width: number;
  height: number;
}

export interface Region {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** A child of an element; empty values are left out. */
export type Child = Node | string | null | false | undefined;
