/* Exponential smoothing of a series with gaps. */

/** Return the exponential moving average of `values`, freed of its start at zero (as Adam's
 * moments are); `weight` in [0, 1) is what the past counts. Gaps stay gaps. */
export function smooth(values, weight) {
  if (!weight) return values;
  let average = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    average = weight * average + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return average / mass;
  });
}
