/** This module is the plugin: it makes the parts, gives each notebook its link, and registers what people see. */

import { ILabShell, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Attacher, attach } from './attacher';
import { Board } from './board';
import { IEnding, Link } from './comm';
import { groupsOf } from './groups';
import { groupsIcon } from './icon';
import { noticeOf } from './notices';
import { isTrusted } from './outputs';
import { liveFactory, panelFactory } from './panel';
import { SidePanel } from './sidepanel';
import { StatusItem } from './status';
import { Commands, PLUGIN_ID } from './tokens';

const BEFORE_WIDGETS = -20; // ipywidgets stands at -10, and the lower one draws
const SIDE_ID = 'compute-nb-groups';

interface ISettings {
  attach: boolean;
  notify: boolean;
  longS: number;
}

export const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN_ID,
  description: 'Keeps the runs of compute cells in the notebook and draws their panels.',
  autoStart: true,
  requires: [INotebookTracker, IRenderMimeRegistry],
  optional: [ISettingRegistry, IStatusBar, ICommandPalette, ILabShell],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    rendermime: IRenderMimeRegistry,
    registry: ISettingRegistry | null,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null,
    labShell: ILabShell | null
  ) => {
    const board = new Board<NotebookPanel>();
    const settings: ISettings = { attach: true, notify: true, longS: 60 };
    followSettings(registry, settings);

    const links = new WeakMap<NotebookPanel, Link>();
    const reload = (notebook: NotebookPanel) => {
      attach(notebook.sessionContext).catch(error => console.warn('compute_nb: the kernel went', error));
    };
    const surroundings = {
      board,
      notebookOf: (resolver: IRenderMime.IResolver | null | undefined) =>
        tracker.find(one => one.content.rendermime.resolver === resolver) ?? null,
      reload,
      askChanges: (notebook: NotebookPanel, id: string, source: string) =>
        links.get(notebook)?.askChanges(id, source) ?? false
    };
    rendermime.addFactory(panelFactory(surroundings), BEFORE_WIDGETS);
    rendermime.addFactory(liveFactory(), BEFORE_WIDGETS);

    const follow = (notebook: NotebookPanel) => {
      const link = new Link(notebook, board);
      links.set(notebook, link);
      link.ended.connect((_, ending) => notice(ending, settings));
      const attacher = new Attacher(
        notebook.sessionContext,
        () => settings.attach && !link.isConnected && isTrusted(notebook) && groupsOf(notebook, board).length > 0
      );
      notebook.disposed.connect(() => {
        attacher.dispose();
        link.dispose();
      });
      void notebook.context.ready.then(() => board.touch(notebook));
    };
    tracker.forEach(follow);
    tracker.widgetAdded.connect((_, notebook) => follow(notebook));

    const reloadCurrent = () => {
      if (tracker.currentWidget !== null) {
        reload(tracker.currentWidget);
      }
    };
    const side = new SidePanel(tracker, board, reloadCurrent, () => {
      if (tracker.currentWidget !== null) {
        app.shell.activateById(tracker.currentWidget.id);
      }
    });
    side.id = SIDE_ID;
    side.title.icon = groupsIcon;
    side.title.caption = 'Compute tasks of this notebook';
    app.shell.add(side, 'right', { rank: 800, type: 'Compute tasks' });
    const open = () => {
      app.shell.activateById(SIDE_ID);
      side.update();
    };
    statusBar?.registerStatusItem(`${PLUGIN_ID}:status`, {
      item: new StatusItem(tracker, board, open),
      align: 'left',
      rank: 90
    });

    const isEnabled = () => tracker.currentWidget !== null;
    app.commands.addCommand(Commands.reload, { label: 'Reload compute tasks', isEnabled, execute: reloadCurrent });
    app.commands.addCommand(Commands.show, { label: 'Show compute tasks', execute: open });
    for (const command of [Commands.reload, Commands.show]) {
      palette?.addItem({ command, category: 'Compute' });
    }
    labShell?.currentChanged.connect(() => side.update());
  }
};

function notice({ snapshot }: IEnding, settings: ISettings): void {
  const now = Date.now() / 1000;
  const said = settings.notify ? noticeOf(snapshot, document.hidden, settings.longS, now) : null;
  if (said !== null) {
    Notification.emit(said.text, said.kind, { autoClose: said.kind === 'error' ? false : 8000 });
  }
}

function followSettings(registry: ISettingRegistry | null, settings: ISettings): void {
  registry
    ?.load(PLUGIN_ID)
    .then(loaded => {
      const read = () => {
        settings.attach = loaded.get('attachAfterRestart').composite !== false;
        settings.notify = loaded.get('notifications').composite !== false;
        settings.longS = Number(loaded.get('longRunSeconds').composite) || 60;
      };
      loaded.changed.connect(read);
      read();
    })
    .catch(error => console.warn('compute_nb: settings were not read, defaults count', error));
}
