/** The element of the page with this id; the page and the scripts are built together, so it is there. */
export function byId<K extends keyof HTMLElementTagNameMap = "div">(id: string): HTMLElementTagNameMap[K] {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as HTMLElementTagNameMap[K];
}

/** A new element. Text is only ever set as text: what users send is never parsed as HTML. */
export function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  text = "",
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** A time of day, for people and for machines. */
export function timeOf(milliseconds: number): HTMLTimeElement {
  const date = new Date(milliseconds);
  const element = create("time", "", date.toLocaleTimeString());
  element.dateTime = date.toISOString();
  return element;
}
