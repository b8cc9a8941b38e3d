// The two-sided 95 % interval of a share (Clopper and Pearson 1934), as the service computes it.

const TAIL = 0.025;
const STEPS = 60; // of the bisection: more than a double can tell apart
const TERMS = 1000; // of the continued fraction; it needs about the root of the larger parameter
const SMALLEST = 1e-300;
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

/**
 * A share, `count` of `total`, with both ends of its interval.
 * @param {number} count @param {number} total at least 1
 */
export function interval(count, total) {
  return {
    value: count / total,
    low: count === 0 ? 0 : quantile(TAIL, count, total - count + 1),
    high: count === total ? 1 : quantile(1 - TAIL, count + 1, total - count),
  };
}

/** The quantile of a beta distribution. @param {number} tail @param {number} a @param {number} b */
function quantile(tail, a, b) {
  let [low, high] = [0, 1];
  for (let step = 0; step < STEPS; step++) {
    const middle = (low + high) / 2;
    if (incompleteBeta(middle, a, b) < tail) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The regularised incomplete beta function (DLMF 8.17.22). @param {number} x @param {number} a @param {number} b @returns {number} */
function incompleteBeta(x, a, b) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a); // where the fraction converges fast
  const front =
    Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  let c = 1;
  let d = 1 / nonzero(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m <= TERMS; m++) {
    for (const term of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 / nonzero(1 + term * d);
      c = nonzero(1 + term / c);
      fraction *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-14) break;
  }
  return front * fraction;
}

/** Keeps a divisor off zero. @param {number} value */
const nonzero = (value) => (Math.abs(value) < SMALLEST ? SMALLEST : value);

/** ln Γ(x) for x ≥ 1 (Lanczos 1964, g = 7, 9 coefficients). @param {number} x */
function logGamma(x) {
  const base = x + 6.5;
  const series = LANCZOS.slice(1).reduce((sum, value, index) => sum + value / (x + index), LANCZOS[0]);
  return (x - 0.5) * Math.log(base) - base + Math.log(Math.sqrt(2 * Math.PI) * series);
}
