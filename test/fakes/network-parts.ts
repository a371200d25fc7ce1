import type { AttachmentKey, Attachment } from '../../src/core/network/attachment.ts';
import { Fault } from '../../src/core/fault.ts';
import type { LinkObservation, LinkPlan } from '../../src/core/network/link-plan.ts';

/**
 * Links, records and host ports in memory, that fail once when told to, and remember what was done
 * in which order.
 */
export class FakeNetworkParts {
  readonly log: string[] = [];
  readonly links = new Set<string>();
  readonly records = new Set<string>();
  readonly ports = new Set<string>();
  /** What is behind a namespace's path; a path that is not here has a namespace of its own. */
  readonly namespaces = new Map<string, string | undefined>();
  onAttach: () => void = () => undefined;
  readonly #failures = new Map<string, Fault>();

  /** The next call of `step` throws `fault`. */
  fail(step: string, fault: Fault): void {
    this.#failures.set(step, fault);
  }

  #do(step: string, what: string): void {
    const fault = this.#failures.get(step);
    this.#failures.delete(step);
    if (fault !== undefined) throw fault;
    this.log.push(`${step} ${what}`);
  }

  async attach(plan: LinkPlan): Promise<void> {
    await Promise.resolve();
    this.#do('attach', plan.host.name);
    if (this.links.has(plan.host.name)) throw new Fault('conflict', `${plan.host.name} exists`);
    this.links.add(plan.host.name);
    this.onAttach();
  }

  async observe(): Promise<LinkObservation> {
    return await Promise.resolve({ host: undefined, pod: undefined });
  }

  async netnsId(path: string): Promise<string | undefined> {
    return await Promise.resolve(this.namespaces.has(path) ? this.namespaces.get(path) : `ns of ${path}`);
  }

  async save({ containerId }: AttachmentKey): Promise<void> {
    await Promise.resolve();
    this.#do('save', containerId);
    this.records.add(containerId);
  }

  /** Of a link by its name, or of a record. */
  async remove(what: string): Promise<boolean>;
  async remove(what: Attachment, options: { readonly resting: boolean }): Promise<void>;
  async remove(what: string | Attachment): Promise<unknown> {
    await Promise.resolve();
    if (typeof what === 'string') {
      this.#do('remove', what);
      return this.links.delete(what);
    }
    this.#do('forget', what.containerId);
    this.records.delete(what.containerId);
    return undefined;
  }

  async open({ containerId }: AttachmentKey): Promise<void> {
    await Promise.resolve();
    this.#do('open', containerId);
    this.ports.add(containerId);
  }

  async close({ containerId }: AttachmentKey): Promise<void> {
    await Promise.resolve();
    this.#do('close', containerId);
    this.ports.delete(containerId);
  }
}
