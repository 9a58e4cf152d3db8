/** This module is the icon of the side panel. */

import { LabIcon } from '@jupyterlab/ui-components';

const SVG =
  '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
  '<g class="jp-icon3" fill="#616161"><path d="M3 4h18v4H3zM3 10h11v4H3zM3 16h15v4H3z"/></g></svg>';

export const groupsIcon = new LabIcon({ name: 'compute-nb:groups', svgstr: SVG });
