// A seeded generator, so that the golden file can be made again bit by bit (mulberry32, public domain).
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  unit() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  // In [low, high].
  int(low, high) {
    return low + Math.floor(this.unit() * (high - low + 1));
  }

  pick(list) {
    return list[this.int(0, list.length - 1)];
  }

  // A word, a sentence, a text: `low` to `high` draws joined.
  join(low, high, draw, separator = "") {
    return Array.from({ length: this.int(low, high) }, draw).join(separator);
  }
}
