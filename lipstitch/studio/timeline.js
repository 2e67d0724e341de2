// Dragging draws a range; a range that is clicked goes. The server keeps them, so both are sent as one change.
let from = null;
const shown = () => JSON.parse(props.value);
const bar = () => element.querySelector(".bar");
const second = (event) => {
  const box = bar().getBoundingClientRect();
  const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  return Math.round(share * shown().seconds * 100) / 100;
};
const change = (ranges) => {
  props.value = JSON.stringify({ ...shown(), ranges });
  trigger("input");
};
element.addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".bar")) return;
  from = second(event);
  element.setPointerCapture(event.pointerId);
  event.preventDefault();
});
element.addEventListener("pointermove", (event) => {
  if (from === null) return;
  const drawn = element.querySelector(".drawn");
  const [a, b] = [from, second(event)].sort((x, y) => x - y);
  drawn.hidden = false;
  drawn.style.left = `${100 * a / shown().seconds}%`;
  drawn.style.width = `${100 * (b - a) / shown().seconds}%`;
});
element.addEventListener("pointerup", (event) => {
  if (from === null) return;
  const [a, b] = [from, second(event)].sort((x, y) => x - y);
  from = null;
  const isClick = b - a < Math.max(0.1, shown().seconds / 200);
  const others = shown().ranges.filter((range) => isClick ? a < range[0] || a > range[1] : b <= range[0] || a >= range[1]);
  change(isClick ? others : [...others, [a, b]].sort((x, y) => x[0] - y[0]));
});
