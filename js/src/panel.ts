/**
 * This module is the panel: what is drawn for an output that holds a group.
 *
 * It shows the kernel's widget while the board names one, else the newest snapshot: the kernel's, or the file's.
 */

import type { NotebookPanel } from '@jupyterlab/notebook';
import { MimeModel } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { JSONObject, ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { Message } from '@lumino/messaging';
import type { ISignal } from '@lumino/signaling';
import { Panel, Widget } from '@lumino/widgets';
import type { Board, INews } from './board';
import { Drift } from './drift';
import { readSnapshot, sentence, stateOf, title } from './snapshot';
import { GroupState, ISnapshot, LIVE_MIME, PANEL_MIME, WIDGET_MIME } from './tokens';
import { drawn, element, notConnected } from './view';

const HTML_MIME = 'text/html';

/** What the comparison needs of a cell's shared model. */
interface ISharedText {
  readonly changed: ISignal<any, any>;
  getSource(): string;
}

/** What a panel needs of the rest. */
export interface ISurroundings {
  readonly board: Board<NotebookPanel>;
  /** The open notebook that renders with this resolver, null if there is none. */
  notebookOf(resolver: IRenderMime.IResolver | null | undefined): NotebookPanel | null;
  reload(notebook: NotebookPanel): void;
  /** Asks the kernel how a source differs from what a group ran; returns whether there is one to ask. */
  askChanges(notebook: NotebookPanel, id: string, source: string): boolean;
}

/** Draws panels; cells that are not trusted get the same, from the JSON alone. */
export function panelFactory(surroundings: ISurroundings): IRenderMime.IRendererFactory {
  return {
    safe: true,
    mimeTypes: [PANEL_MIME],
    createRenderer: options => new PanelRenderer(surroundings, options.resolver)
  };
}

/** Draws nothing for the widget that other front ends show below the panel. */
export function liveFactory(): IRenderMime.IRendererFactory {
  return { safe: true, mimeTypes: [LIVE_MIME], createRenderer: () => new HiddenRenderer() };
}

class HiddenRenderer extends Widget implements IRenderMime.IRenderer {
  constructor() {
    super();
    this.addClass('cnbp-hidden');
  }

  async renderModel(): Promise<void> {
    return;
  }
}

/** One drawn panel; made by JupyterLab as often as it likes, so it keeps nothing of its own. */
export class PanelRenderer extends Panel implements IRenderMime.IRenderer {
  private readonly _told = element('div', 'cnbp-told');
  private readonly _drift = new Drift(source => this._askChanges(source));
  private readonly _below = new Widget({ node: this._drift.node });
  private _source: ISharedText | null = null;
  private _model: IRenderMime.IMimeModel | null = null;
  private _saved: ISnapshot | null = null;
  private _state: GroupState | null = null;
  private _still: Widget | null = null;
  private _live: Widget | null = null;
  private _bound: string | null = null;

  constructor(
    private readonly _around: ISurroundings,
    private readonly _resolver: IRenderMime.IResolver | null | undefined
  ) {
    super();
    this.addClass('cnbp-output');
    this._told.setAttribute('role', 'status');
    this.node.append(this._told);
    this.addWidget(this._below);
    this._around.board.changed.connect(this._onNews, this);
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._leaveSource();
      this._drift.dispose();
      this._around.board.changed.disconnect(this._onNews, this);
    }
    super.dispose();
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._model = model;
    this._saved = readSnapshot(model.data[PANEL_MIME]);
    this._drawStill();
    this._compare();
    await this._bind();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._leaveSource();
    const cell = this._notebook?.content.widgets.find(one => one.node.contains(this.node));
    this._source = cell?.model.sharedModel ?? null;
    this._source?.changed.connect(this._compare, this);
    this._compare();
  }

  protected onBeforeDetach(message: Message): void {
    this._leaveSource();
    super.onBeforeDetach(message);
  }

  private _leaveSource(): void {
    this._source?.changed.disconnect(this._compare, this);
    this._source = null;
  }

  /** Says so while the cell's source is another one than that of the run. */
  private _compare(): void {
    this._drift.compare(this._source?.getSource() ?? null, this._saved?.entry.source_hash ?? '');
  }

  private _askChanges(source: string): boolean {
    const notebook = this._notebook;
    const id = this._saved?.entry.id;
    return notebook !== null && id !== undefined && this._around.askChanges(notebook, id, source);
  }

  private _onNews(_: unknown, news: INews<NotebookPanel>): void {
    const id = this._saved?.entry.id;
    if (id === undefined || news.notebook !== this._notebook || (news.id !== null && news.id !== id)) {
      return;
    }
    if (this._around.board.hasChanges(news.notebook, id)) {
      this._drift.tell(this._around.board.changes(news.notebook, id));
    }
    this._drawStill();
    void this._bind();
  }

  private get _notebook(): NotebookPanel | null {
    return this._around.notebookOf(this._resolver);
  }

  /** Shows the widget that the board names, or takes away one that it does not name any more. */
  private async _bind(): Promise<void> {
    const notebook = this._notebook;
    const id = this._saved?.entry.id;
    const wanted = notebook === null || id === undefined ? null : this._around.board.model(notebook, id);
    if (wanted === this._bound) {
      return;
    }
    this._bound = wanted;
    this._live?.dispose();
    this._live = null;
    if (notebook !== null && wanted !== null) {
      await this._show(notebook, wanted);
    }
    this._drawStill();
  }

  private async _show(notebook: NotebookPanel, modelId: string): Promise<void> {
    await notebook.sessionContext.ready; // before, the widget manager says "Loading widget" for good
    const view = { model_id: modelId, version_major: 2, version_minor: 0 };
    const live = notebook.content.rendermime.createRenderer(WIDGET_MIME);
    await live.renderModel(new MimeModel({ trusted: true, data: { [WIDGET_MIME]: view } }));
    if (this._bound !== modelId || this.isDisposed) {
      live.dispose();
      return;
    }
    this._live = live;
    this.insertWidget(this.widgets.indexOf(this._below), live);
  }

  private _drawStill(): void {
    if (this.isDisposed || this._model === null) {
      return;
    }
    const notebook = this._notebook;
    const bundle = this._newest(notebook);
    const snapshot = readSnapshot(bundle[PANEL_MIME]);
    this._still?.dispose();
    this._still = null;
    if (snapshot === null) {
      this._still = new Widget({ node: element('pre', '', String(bundle['text/plain'] ?? '')) });
    } else {
      this._tell(snapshot);
      this._still = this._live === null ? this._stillOf(bundle, snapshot, notebook) : this._styleOf(notebook);
    }
    if (this._still !== null) {
      this.insertWidget(0, this._still);
    }
  }

  private _newest(notebook: NotebookPanel | null): ReadonlyPartialJSONObject {
    const id = this._saved?.entry.id;
    const heard = notebook === null || id === undefined ? null : this._around.board.bundle(notebook, id);
    return heard ?? this._model?.data ?? {};
  }

  /** The kernel's widget is drawn in the style of the kernel's display data, which is not drawn beside it. */
  private _styleOf(notebook: NotebookPanel | null): Widget {
    const id = this._saved?.entry.id;
    const heard = notebook === null || id === undefined ? null : this._around.board.bundle(notebook, id);
    const source = heard ?? (this._model?.trusted ? this._model.data : {});
    const page = new DOMParser().parseFromString(String(source[HTML_MIME] ?? ''), HTML_MIME);
    const rules = [...page.querySelectorAll('style')].map(one => one.textContent ?? '').join('');
    return new Widget({ node: element('style', '', rules) });
  }

  /** A trusted cell shows the kernel's own drawing, with results; what is not trusted has only its JSON read. */
  private _stillOf(bundle: ReadonlyPartialJSONObject, snapshot: ISnapshot, notebook: NotebookPanel | null): Widget {
    const panel = new Panel();
    if (this._model?.trusted && notebook !== null && typeof bundle[HTML_MIME] === 'string') {
      const renderer = notebook.content.rendermime.createRenderer(HTML_MIME);
      const data = { [HTML_MIME]: bundle[HTML_MIME] } as JSONObject;
      void renderer.renderModel(new MimeModel({ trusted: true, data }));
      panel.addWidget(renderer);
    } else {
      panel.addWidget(new Widget({ node: drawn(snapshot) }));
    }
    const said = notebook === null ? '' : this._around.board.note(notebook, snapshot.entry.id);
    const note = notebook === null ? null : notConnected(snapshot, said, () => this._around.reload(notebook));
    if (note !== null) {
      panel.addWidget(new Widget({ node: note }));
    }
    return panel;
  }

  /** Has screen readers told of a change of state, not of every count. */
  private _tell(snapshot: ISnapshot): void {
    const state = stateOf(snapshot);
    if (this._state !== null && this._state !== state) {
      this._told.textContent = `${title(snapshot)}: ${state}, ${sentence(snapshot)}`;
    }
    this._state = state;
  }
}
