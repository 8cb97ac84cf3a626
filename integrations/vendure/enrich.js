'use strict';
/*
 * Puts on each request's HTTP span what Vendure leaves out, for the shop's configuration:
 *
 *     apiOptions: { apolloServerPlugins: [require('./enrich').enrich] }
 *
 *     graphql.operation.type, .name   query or mutation, and what the client calls it
 *     graphql.root_fields             what it asks for
 *     graphql.error.count, .codes     errors; UNKNOWN is one without a code, such as a database that is down
 *     vendure.error_result.codes      what Vendure refused with an answer: a declined payment, a wrong password
 *     event vendure.product_view      a product that was shown to somebody, with its product.id
 *
 * No customer's data and no argument. Nothing here changes an answer, and trouble in here never reaches the shop.
 */
const { context } = require('@opentelemetry/api');
const { getRPCMetadata } = require('@opentelemetry/core');

const MOST = 20; // codes on one span

exports.enrich = {
    async requestDidStart() {
        const span = careful(() => getRPCMetadata(context.active())?.span);
        if (!span?.isRecording()) {
            return undefined;
        }
        const refused = [];
        const viewed = new Set();
        return {
            async didResolveOperation(request) {
                careful(() => {
                    span.setAttribute('graphql.operation.type', request.operation.operation);
                    span.setAttribute('graphql.operation.name', request.operationName || '(anonymous)');
                    span.setAttribute('graphql.root_fields', [...rootFields(request)]);
                });
            },
            async executionDidStart(request) {
                const wanted = careful(() => watched(request));
                if (!wanted?.size) {
                    return undefined; // most requests: nothing of theirs is looked at field by field
                }
                return {
                    willResolveField({ info }) {
                        if (info.path.prev) {
                            return undefined;
                        }
                        const sort = wanted.get(info.fieldName);
                        return sort && ((error, found) => careful(() => {
                            if (sort === 'product' && found?.id !== undefined) {
                                viewed.add(String(found.id));
                            }
                            if (sort === 'result') {
                                refused.push(...[found].flat().map(one => one?.errorCode).filter(Boolean));
                            }
                        }));
                    },
                };
            },
            async willSendResponse({ response }) {
                careful(() => {
                    const errors = (response.body.kind === 'single' && response.body.singleResult.errors) || [];
                    if (errors.length) {
                        span.setAttribute('graphql.error.count', errors.length);
                        span.setAttribute(
                            'graphql.error.codes',
                            errors.slice(0, MOST).map(error => String(error.extensions?.code ?? 'UNKNOWN')),
                        );
                    }
                    if (refused.length) {
                        span.setAttribute('vendure.error_result.codes', refused.slice(0, MOST));
                    }
                    for (const id of viewed) {
                        span.addEvent('vendure.product_view', { 'product.id': id });
                    }
                });
            },
        };
    },
};

/* Return the names of the fields that an operation asks for, also those inside fragments. */
function rootFields({ operation, document }) {
    const names = new Set();
    const visit = selections => selections.forEach(selection => {
        if (selection.kind === 'Field') {
            names.add(selection.name.value);
        } else if (selection.kind === 'InlineFragment') {
            visit(selection.selectionSet.selections);
        } else {
            const named = definition =>
                definition.kind === 'FragmentDefinition' && definition.name.value === selection.name.value;
            visit(document.definitions.find(named).selectionSet.selections);
        }
    });
    visit(operation.selectionSet.selections);
    return names;
}

/*
 * Return what tells something when it is resolved: one product of the Shop API, or a union with an ErrorResult.
 * Vendure's own object is looked at, so it doesn't matter which of its fields the client asked for.
 */
function watched(request) {
    const { schema, operation } = request;
    const queries = schema.getQueryType();
    const root = operation.operation === 'mutation' ? schema.getMutationType() : queries;
    const admin = 'activeAdministrator' in queries.getFields();
    const wanted = new Map();
    for (const name of rootFields(request)) {
        let type = root.getFields()[name]?.type;
        let list = false;
        for (; type?.ofType; type = type.ofType) {
            list ||= String(type).startsWith('[');
        }
        const isError = member => member.getInterfaces().some(one => one.name === 'ErrorResult');
        if (type?.name === 'Product' && root === queries && !admin && !list) {
            wanted.set(name, 'product');
        } else if (type?.getTypes?.().some(isError)) {
            wanted.set(name, 'result');
        }
    }
    return wanted;
}

function careful(work) {
    try {
        return work();
    } catch {
        return undefined; // a number less for toban, no request less for the shop
    }
}
