// Running the hottest kernels on zeros, so that the browser compiles them in time.

#ifndef TULLE_RUNTIME_WARM_UP_H_
#define TULLE_RUNTIME_WARM_UP_H_

void tulle_warm_up(void);

#endif  // TULLE_RUNTIME_WARM_UP_H_
