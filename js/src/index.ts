/** This module is the list of plugins. */

import { plugin } from './plugin';

export default [plugin];
