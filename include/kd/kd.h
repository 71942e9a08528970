/* SPDX-License-Identifier: MIT
 * kd.h: all of libkd. */
#ifndef KD_KD_H
#define KD_KD_H

#include <kd/cache.h>
#include <kd/ctx.h>
#include <kd/data.h>
#include <kd/dtype.h>
#include <kd/edge.h>
#include <kd/export.h>
#include <kd/file.h>
#include <kd/graph.h>
#include <kd/json.h>
#include <kd/model.h>
#include <kd/op.h>
#include <kd/optim.h>
#include <kd/options.h>
#include <kd/params.h>
#include <kd/plan.h>
#include <kd/predict.h>
#include <kd/status.h>
#include <kd/train.h>

#endif
