/** The output of one of several programs that run at the same time. */
export interface OutputTurn {
  write(data: Uint8Array): void;
  /** It says no more. Call it once. */
  end(): void;
}

/**
 * For programs that run at the same time and are to be read one after the other: the first is shown
 * as it speaks, and each next one from its beginning as soon as all before it have ended.
 */
export function takeTurns(count: number, show: (data: Uint8Array) => void): readonly OutputTurn[] {
  const held = Array.from({ length: count }, (): Uint8Array[] => []);
  const ended = new Set<number>();
  let turn = 0;
  return held.map((chunks, index) => ({
    write(data) {
      if (index === turn) show(data);
      else chunks.push(data);
    },
    end() {
      ended.add(index);
      while (ended.has(turn)) {
        turn += 1;
        for (const data of held[turn]?.splice(0) ?? []) show(data);
      }
    },
  }));
}
