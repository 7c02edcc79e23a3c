/* Lines with x of their own, as the aligned columns that uPlot wants.
 * A line is { label, color, x, y, low?, high?, faint?, dots?, dash?, raw? }: low and high bound its
 * band, a faint one stands behind without a place in the legend, a dotted one is not joined, raw
 * is what the legend says where y is a sum (stacked charts). */

const { uPlot } = window;

/** Return { data, columns }: uPlot's columns, and for each line where its y, low and high are. */
export function aligned(lines) {
  const tables = lines.map((line) => [line.x, ...parts(line)]);
  const same = lines.every((line) => line.x === lines[0].x);
  const data = same ? [lines[0].x, ...lines.flatMap(parts)] : uPlot.join(tables);
  let next = 1;
  const columns = lines.map((line) => {
    const at = { y: next };
    if (line.low) Object.assign(at, { low: next + 1, high: next + 2 });
    next += parts(line).length;
    return at;
  });
  return { data, columns };
}

/** Return the value that is nearest to `index` in a column, at most `reach` points away. */
export function nearest(column, index, reach = 3) {
  for (let distance = 0; distance <= reach; distance += 1) {
    for (const at of [index - distance, index + distance]) {
      if (column[at] !== null && column[at] !== undefined) return column[at];
    }
  }
  return null;
}

/** Return the last value of a line that is known. */
export function last(values) {
  return values.findLast((value) => value !== null && value !== undefined) ?? null;
}

function parts(line) {
  return line.low ? [line.y, line.low, line.high] : [line.y];
}
