// A refusal carries one of the page's error names and the field at fault.

export class Refusal extends Error {
  constructor(name, field) {
    super(`${name}: ${field}`);
    this.name = name;
    this.field = field;
  }
}

/** Refuses the file unless `holds`. */
export function insist(holds, field, name = "CorruptFile") {
  if (!holds) throw new Refusal(name, field);
}
